//! Homes with other file systems in them, in a mount name space of the test's own.

use exeunt_engine::ports::{Files, FilesError};
use exeunt_testkit::contract::files::FilesRig;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::homes::{Home, is_root, name};

/// Runs `test` on a thread whose mounts nobody else sees, with a tmpfs at `place` of its home.
#[expect(unsafe_code, reason = "a mount name space for one thread")]
fn with_mount(place: &str, test: impl FnOnce(&Home) + Send) {
    if !is_root("mounting") {
        return;
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: only UnshareFlags::FILES endangers descriptors of other threads.
            unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.unwrap();
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
            let home = Home::own();
            home.make_dirs(&home.path(place));
            mount("tmpfs", home.path(place), "tmpfs", MountFlags::empty(), None).unwrap();
            test(&home);
            rustix::mount::unmount(home.path(place), rustix::mount::UnmountFlags::DETACH).unwrap();
        });
        thread.join().unwrap();
    });
}

#[test]
fn reports_a_mount_point_and_never_crosses_it() {
    with_mount("d/inner", |home| {
        home.put("d/x", b"");
        home.put("d/inner/on-another-mount", b"kept");
        let (files, root) = (home.files(), home.home());
        let dir = home.enter("d");
        let inner = home.entry(&dir, b"inner");
        assert!(inner.mount_point && !home.entry(&root, b"d").mount_point);
        let listed = files.list(&dir).unwrap();
        assert!(listed.iter().any(|entry| entry.name == inner.name && entry.mount_point));
        let whole = home.entry(&root, b"d");
        assert_eq!(files.identities(&root, &whole, 10).unwrap().len(), 2);
        assert!(matches!(files.erase(&dir, &inner), Err(FilesError::OtherMount)));
        assert!(files.erase(&root, &whole).is_err());
        assert_eq!(home.content("d/inner/on-another-mount"), Some(b"kept".to_vec()));
        assert!(!home.path("d/x").exists());
    });
}

#[test]
fn answers_other_mount_when_a_rename_cannot_reach_and_finds_a_place_on_that_mount() {
    with_mount(".cache", |home| {
        home.put(".cache/chromium/x", b"");
        let (files, root) = (home.files(), home.home());
        let cache = home.enter(".cache");
        let chromium = home.entry(&cache, b"chromium");
        let far = files.open_quarantine(&root, "far").unwrap();
        let moved = files.quarantine(&cache, &chromium, &far, &name("0"));
        assert!(matches!(moved, Err(FilesError::OtherMount)));
        assert!(home.path(".cache/chromium/x").exists());
        files.empty_quarantine(&far).unwrap();
        let near = files.open_quarantine(&home.enter(".cache/chromium"), "near").unwrap();
        assert!(home.path(".cache/.exeunt-quarantine-near").is_dir());
        files.quarantine(&cache, &chromium, &near, &name("0")).unwrap();
        // As after a power cut.
        drop(near);
        let left = files.leftover_quarantines().unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(files.empty_quarantine(&left[0]).unwrap(), 1);
    });
}
