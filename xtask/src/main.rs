//! Installs, builds and executes what the project needs.
fn main() {}
