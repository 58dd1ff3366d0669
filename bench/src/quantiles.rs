//! Medians and quantiles.

/// The value in the middle.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The smallest value that this share of them does not exceed; not a number where there are none.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (sorted.len() as f64 * share).ceil() as usize;
    match sorted.len() {
        0 => f64::NAN,
        count => sorted[place.clamp(1, count) - 1],
    }
}

/// The largest value.
pub fn worst(values: &[f64]) -> f64 {
    quantile(values, 1.0)
}
