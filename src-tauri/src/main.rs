//! exeunt-tray: the tray and its windows.
fn main() {}
