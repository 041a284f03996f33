//! Latencies in buckets on a logarithmic scale.
//!
//! Each power of two of nanoseconds is divided into 64 buckets, so a percentile is at most 1.6 % above the true value;
//! the maximum is exact. Left out: a stored form; the report takes the percentiles it shows.

use std::time::Duration;

/// Bits of the value that choose the bucket inside its power of two.
const FINE_BITS: u32 = 6;
/// Buckets in one power of two.
const FINE: u64 = 1 << FINE_BITS;
/// Enough buckets for every `u64`.
const BUCKETS: usize = (64 - FINE_BITS as usize + 1) * FINE as usize;

/// Counts of latencies.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_nanoseconds: u64,
}

impl Histogram {
    /// A histogram without values.
    pub fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max_nanoseconds: 0 }
    }

    /// Adds one latency.
    pub fn record(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(nanoseconds)) {
            *count += 1;
        }
        self.total += 1;
        self.max_nanoseconds = self.max_nanoseconds.max(nanoseconds);
    }

    /// Adds all values of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.max_nanoseconds = self.max_nanoseconds.max(other.max_nanoseconds);
    }

    /// How many values there are.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The latency in microseconds that `share` (0 to 1) of the values do not exceed; 0 without values.
    pub fn percentile_microseconds(&self, share: f64) -> f64 {
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return highest(index).min(self.max_nanoseconds) as f64 / 1_000.0;
            }
        }
        0.0
    }

    /// The greatest latency in microseconds.
    pub fn max_microseconds(&self) -> f64 {
        self.max_nanoseconds as f64 / 1_000.0
    }
}

/// The bucket of a value: values below 64 have one each, then 64 for each power of two.
fn bucket(nanoseconds: u64) -> usize {
    if nanoseconds < FINE {
        return nanoseconds as usize;
    }
    let shift = nanoseconds.ilog2() - FINE_BITS;
    let fine = (nanoseconds >> shift) - FINE;
    ((u64::from(shift) + 1) * FINE + fine) as usize
}

/// The greatest value that falls into a bucket.
fn highest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < FINE {
        return bucket;
    }
    let shift = bucket / FINE - 1;
    let fine = bucket % FINE + FINE;
    ((u128::from(fine + 1) << shift) - 1).min(u128::from(u64::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_and_buckets_ascend() {
        for value in (0..200_000).chain([1 << 40, (1 << 40) + 12_345, u64::MAX - 1, u64::MAX]) {
            let index = bucket(value);
            assert!(index < BUCKETS);
            assert!(highest(index) >= value, "{value} is above its bucket's end {}", highest(index));
            assert!((highest(index) - value) as f64 <= value as f64 / 64.0 + 1.0);
            if index > 0 {
                assert!(highest(index - 1) < value, "{value} also fits the bucket below");
            }
        }
    }

    #[test]
    fn percentiles_of_a_known_series() {
        let mut histogram = Histogram::new();
        for microseconds in 1..=1_000 {
            histogram.record(Duration::from_micros(microseconds));
        }
        let mut other = Histogram::new();
        other.record(Duration::from_millis(5));
        histogram.merge(&other);
        assert_eq!(histogram.total(), 1_001);
        let median = histogram.percentile_microseconds(0.5);
        assert!((500.0..=510.0).contains(&median), "median {median}");
        let high = histogram.percentile_microseconds(0.99);
        assert!((990.0..=1_008.0).contains(&high), "p99 {high}");
        assert_eq!(histogram.max_microseconds(), 5_000.0);
        assert_eq!(Histogram::new().percentile_microseconds(0.5), 0.0);
    }
}
