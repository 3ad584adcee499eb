//! exeunt-hub: the registry, the revoke, the transmitter, the proof.
fn main() {}
