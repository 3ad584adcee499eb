//! The revocation check: watermarks and denials by sequence, exact, in memory.
//!
//! It refuses approximation and clocks: no filter, no seconds, and no batch that leaves a gap.

pub mod key;
pub mod state;
pub mod wire;

pub use key::{Keyed, SessionKey, SubjectHash};
pub use state::{Batch, BatchError, Delta, Refusal, RevocationState, Watermark};
