//! Snapshots of the logical volume that a home is on, as `/sys` and LVM's own backup show them.
//!
//! It refuses to run a program: device-mapper names its devices itself.

use std::collections::BTreeSet;
use std::path::Path;

use exeunt_engine::ports::{Keeper, Snapshot};

/// Deepest stack of devices that is followed.
const DEEPEST: usize = 16;

/// The snapshots whose origin is the device or lies below it.
pub(super) fn of_origin(root: &Path, device: (u32, u32)) -> Vec<Snapshot> {
    let link = root.join("sys/dev/block").join(format!("{}:{}", device.0, device.1));
    let Ok(real) = std::fs::canonicalize(link) else { return Vec::new() };
    let Some(top) = file_name(&real) else { return Vec::new() };
    let block = root.join("sys/class/block");
    let below = closure(&block, &top, "slaves");
    let mut found = BTreeSet::new();
    for device in &below {
        let name = dm(&block, device, "name");
        // A volume with classic snapshots is a layer over `VOLUME-real`, and so is each of them.
        if name.ends_with("-real") {
            let others = children(&block, device, "holders");
            let others = others.into_iter().filter(|other| !below.contains(other));
            found.extend(others.map(|other| dm(&block, &other, "name")));
        }
        found.extend(thin(root, &name));
    }
    found.into_iter().map(|place| Snapshot { keeper: Keeper::Lvm, place }).collect()
}

/// Thin snapshots have no layer of their own: LVM's backup of its own tables names their origin.
/// `name` is device-mapper's, `GROUP-VOLUME` with every hyphen in either doubled.
fn thin(root: &Path, name: &str) -> Vec<String> {
    let Some((group, volume)) = split(name) else { return Vec::new() };
    let backup = root.join("etc/lvm/backup").join(&group);
    let text = std::fs::read_to_string(backup).unwrap_or_default();
    let mut sections: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    let wanted = format!("origin = \"{volume}\"");
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_suffix('{') {
            sections.push(section.trim());
        } else if line == "}" {
            sections.pop();
        } else if line == wanted
            && let [_, "logical_volumes", snapshot, ..] = sections[..]
        {
            found.push(format!("{group}/{snapshot}"));
        }
    }
    found
}

fn split(name: &str) -> Option<(String, String)> {
    let hyphens = name.match_indices('-').map(|(at, _)| at);
    let single = |at: &usize| {
        let bytes = name.as_bytes();
        let is = |at: Option<usize>| at.and_then(|at| bytes.get(at)) == Some(&b'-');
        !is(at.checked_sub(1)) && !is(at.checked_add(1))
    };
    let (group, volume) = name.split_at(hyphens.into_iter().find(single)?);
    let plain = |text: &str| text.replace("--", "-");
    Some((plain(group), plain(volume.get(1..)?)))
}

/// The device and everything that `kind` leads to from it.
fn closure(block: &Path, top: &str, kind: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::from([top.to_owned()]);
    let mut open = vec![top.to_owned()];
    for _ in 0..DEEPEST {
        let next: Vec<String> =
            open.iter().flat_map(|device| children(block, device, kind)).collect();
        open = next.into_iter().filter(|device| seen.insert(device.clone())).collect();
    }
    seen
}

fn children(block: &Path, device: &str, kind: &str) -> Vec<String> {
    let listed = std::fs::read_dir(block.join(device).join(kind)).into_iter().flatten().flatten();
    listed.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn dm(block: &Path, device: &str, what: &str) -> String {
    let path = block.join(device).join("dm").join(what);
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn file_name(path: &Path) -> Option<String> {
    path.file_name().map(|name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// dm-0 is the home over dm-1 (`-real`), dm-2 its snapshot over dm-1 and dm-3 (`-cow`).
    fn machine() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let block = dir.path().join("sys/class/block");
        for (device, name) in [
            ("dm-0", "vg-home"),
            ("dm-1", "vg-home-real"),
            ("dm-2", "vg-before--update"),
            ("dm-3", "vg-before--update-cow"),
            ("dm-4", "my--vg-data"),
        ] {
            std::fs::create_dir_all(block.join(device).join("dm")).unwrap();
            std::fs::write(block.join(device).join("dm/name"), format!("{name}\n")).unwrap();
        }
        for (upper, lower) in [("dm-0", "dm-1"), ("dm-2", "dm-1"), ("dm-2", "dm-3")] {
            std::fs::create_dir_all(block.join(upper).join("slaves").join(lower)).unwrap();
            std::fs::create_dir_all(block.join(lower).join("holders").join(upper)).unwrap();
        }
        let numbers = dir.path().join("sys/dev/block");
        std::fs::create_dir_all(&numbers).unwrap();
        for (number, device) in [("253:0", "dm-0"), ("253:4", "dm-4")] {
            symlink(block.join(device), numbers.join(number)).unwrap();
        }
        dir
    }

    fn names(found: Vec<Snapshot>) -> Vec<String> {
        found.into_iter().map(|snapshot| snapshot.place).collect()
    }

    #[test]
    fn finds_a_classic_snapshot_by_the_layer_that_it_shares_with_its_origin() {
        let machine = machine();
        assert_eq!(names(of_origin(machine.path(), (253, 0))), ["vg-before--update"]);
        assert!(of_origin(machine.path(), (253, 4)).is_empty());
        assert!(of_origin(machine.path(), (8, 1)).is_empty());
    }

    #[test]
    fn finds_a_thin_snapshot_in_lvms_own_backup() {
        let machine = machine();
        let backup = machine.path().join("etc/lvm/backup");
        std::fs::create_dir_all(&backup).unwrap();
        let text = "my-vg {\n\tid = \"x\"\n\tlogical_volumes {\n\t\tdata {\n\t\t\tsegment1 {\n\
            \t\t\t\ttype = \"thin\"\n\t\t\t}\n\t\t}\n\t\tsnap1 {\n\t\t\tsegment1 {\n\
            \t\t\t\ttype = \"thin\"\n\t\t\t\torigin = \"data\"\n\t\t\t}\n\t\t}\n\t}\n}\n";
        std::fs::write(backup.join("my-vg"), text).unwrap();
        assert_eq!(names(of_origin(machine.path(), (253, 4))), ["my-vg/snap1"]);
    }
}
