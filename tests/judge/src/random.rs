//! Chance that is the same on every machine: a generator with a published seed, and what is drawn from it.
//!
//! Logarithms and exponentials are those of `libm`, so that not even the last bit depends on the machine.

use std::f64::consts::TAU;

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): small, quick, and every seed is a good one.
#[derive(Clone, Debug)]
pub struct Random(u64);

/// From this mean on a Poisson number is drawn as a normal one that is rounded: within 1 % in the tails that matter here,
/// and the large counts are those of good requests.
const NORMAL_FROM: f64 = 200.0;

impl Random {
    /// The generator of this hour of this scenario.
    #[must_use]
    pub fn new(seed: u64, scenario: u64, hour: u64) -> Self {
        let mut random = Self(seed);
        for word in [scenario, hour] {
            random.0 = random.next() ^ word;
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Above 0 and below 1, evenly.
    pub fn even(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Normal, with mean 0 and variance 1 (Box and Muller).
    fn normal(&mut self) -> f64 {
        (-2.0 * libm::log(self.even())).sqrt() * libm::cos(TAU * self.even())
    }

    /// How many of something that happens independently, `mean` times on average.
    pub fn poisson(&mut self, mean: f64) -> u32 {
        if mean > NORMAL_FROM {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u32;
        }
        // Knuth's: as many factors as fit above e^-mean.
        let least = libm::exp(-mean);
        let mut product = self.even();
        let mut count = 0;
        while product > least {
            product *= self.even();
            count += 1;
        }
        count
    }

    /// A factor with mean 1 and this coefficient of variation, gamma-distributed; 1 where there is none.
    pub fn factor(&mut self, variation: f64) -> f64 {
        if variation == 0.0 {
            return 1.0;
        }
        let shape = 1.0 / (variation * variation);
        self.gamma(shape) / shape
    }

    /// Marsaglia and Tsang, A simple method for generating gamma variables (2000).
    fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            return self.gamma(shape + 1.0) * libm::pow(self.even(), 1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x) * (1.0 + c * x) * (1.0 + c * x);
            if v > 0.0 && libm::log(self.even()) < 0.5 * x * x + d - d * v + d * libm::log(v) {
                return d * v;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(mut draw: impl FnMut(&mut Random) -> f64) -> (f64, f64) {
        let mut random = Random::new(1, 2, 3);
        let values: Vec<f64> = (0..20_000).map(|_| draw(&mut random)).collect();
        let mean = values.iter().sum::<f64>() / 20_000.0;
        (mean, values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / 20_000.0)
    }

    #[test]
    fn what_is_drawn_has_the_mean_and_the_variance_that_it_says() {
        for mean in [0.1, 3.0, 50.0, 950.0] {
            let (m, v) = moments(|random| random.poisson(mean).into());
            assert!((m / mean - 1.0).abs() < 0.1 && (v / mean - 1.0).abs() < 0.1, "{mean}: {m} {v}");
        }
        for variation in [0.3, 1.0, 2.0] {
            let (m, v) = moments(|random| random.factor(variation));
            assert!((m - 1.0).abs() < 0.1, "{variation}: {m}");
            assert!((v / (variation * variation) - 1.0).abs() < 0.2, "{variation}: {v}");
        }
    }

    #[test]
    fn a_seed_is_a_stream_of_its_own() {
        let first = |seed, scenario, hour| Random::new(seed, scenario, hour).even();
        assert_eq!(first(1, 2, 3).to_bits(), first(1, 2, 3).to_bits());
        assert_ne!(first(1, 2, 3).to_bits(), first(1, 2, 4).to_bits());
        assert_ne!(first(1, 2, 3).to_bits(), first(1, 3, 2).to_bits());
        assert_ne!(first(1, 2, 3).to_bits(), first(2, 2, 3).to_bits());
    }
}
