//! Any text as a site's catalogue file: a catalogue or a mistake with its place, never a panic.
#![no_main]

use exeunt_catalogue::Catalogue;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = Catalogue::parse(&[("site.toml".to_owned(), text.to_owned())]);
});
