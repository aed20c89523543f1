//! Numbers that a stranger cannot foresee, from a seed that the caller brings along.

/// A part of `whole` that is as likely as any other.
pub(crate) fn share(whole: i64, random: u64) -> i64 {
    let part = (u128::from(whole.unsigned_abs()) * u128::from(random)) >> 64;
    i64::try_from(part).unwrap_or(whole)
}

/// The n-th number of the sequence that begins with `seed` (SplitMix64).
pub(crate) const fn scramble(seed: u64, n: u64) -> u64 {
    let mut x = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
