//! exeunt: what people type.
fn main() {}
