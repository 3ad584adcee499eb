//! Homes that are large where it hurts: databases of millions of rows.
//!
//! `EXEUNT_ROWS=10000000 cargo test --release -p exeunt-tests --test large -- --nocapture` is the
//! long variant; build the warden with `cargo build --release -p exeunt-warden` first.

use std::time::Duration;

use exeunt_tests::large;

/// Rows of each database, unless the environment asks for more.
const ROWS: u64 = 20_000;
/// Most memory that a close may hold, in megabytes of a million bytes.
const MEGABYTES: f64 = 600.0;
/// Longest that a close may take.
const WITHIN: Duration = Duration::from_secs(60);

/// A verdict for every store, in bounded time and memory, whatever the number of rows (R51).
#[test]
fn millions_of_rows_are_closed_in_bounded_time_and_memory() {
    let rows = std::env::var("EXEUNT_ROWS").ok().and_then(|rows| rows.parse().ok());
    let closed = large::close(rows.unwrap_or(ROWS)).unwrap();
    eprintln!("{closed}");
    assert_eq!(closed.wrong, Vec::<String>::new());
    assert!(closed.megabytes < MEGABYTES, "{} MB", closed.megabytes);
    assert!(closed.took < WITHIN, "{:?}", closed.took);
}
