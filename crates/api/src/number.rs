//! Whole numbers as JSON has them: 60 and 60.0 are the same (RFC 8259 §6).
//!
//! It refuses what is not whole, negative, or beyond what every reader holds exactly.

use serde::{Deserialize as _, Deserializer, de};

/// The largest whole number that every reader of JSON holds exactly.
pub const LARGEST: u64 = (1 << 53) - 1;

/// Reads a whole number, or none.
///
/// # Errors
/// The deserializer's own.
pub fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(from)? else { return Ok(None) };
    let whole = number.as_u64().or_else(|| {
        let number = number.as_f64()?;
        let fits = number.fract() == 0.0 && (0.0..=LARGEST as f64).contains(&number);
        fits.then_some(number as u64)
    });
    whole.map(Some).ok_or_else(|| de::Error::custom(format!("{number} is no whole number")))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_whole_number_may_carry_a_point_and_nothing_behind_it() {
        let read = |text: &str| super::whole(&mut serde_json::Deserializer::from_str(text)).ok();
        assert_eq!(read("60"), Some(Some(60)));
        assert_eq!(read("60.0"), Some(Some(60)));
        assert_eq!(read("null"), Some(None));
        for wrong in ["60.5", "-1", "1e300", "\"60\"", "true"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
