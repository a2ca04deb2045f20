//! What the benchmarks share. Each is a binary of its own and measures its peers in the same run, interleaved, because
//! a machine's figures differ more from hour to hour than the programs do.

/// The value in the middle; of an even number, the higher of the two.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
