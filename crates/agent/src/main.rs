//! exeunt-agent: carries orders down and receipts up, and can do nothing else.
fn main() {}
