//! Security event tokens: reading, signing and verifying them, and the bodies that carry them.
