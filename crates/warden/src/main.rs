//! exeunt-warden: verifies orders, contains, looks again, signs.
fn main() {}
