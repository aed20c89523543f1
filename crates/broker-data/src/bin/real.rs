//! Reals on the wire: IEEE 754 bits, except for infinities and NaN.
//!
//! Spec: wire 3.2. Subnormal numbers are plain IEEE bits here, which the original garbles; see
//! `docs/adr/0001-subnormal-reals.md`.

const INFINITY_ON_WIRE: u64 = 0xfff0_0000_0000_0000;
const NEGATIVE_INFINITY_ON_WIRE: u64 = 0x7ff0_0000_0000_0000;
const NAN_ON_WIRE: u64 = u64::MAX;

const SIGN: u64 = 1 << 63;
const EXPONENT: u64 = 0x7ff0_0000_0000_0000;
const MANTISSA: u64 = 0x000f_ffff_ffff_ffff;

/// Returns the 64 bits that stand for `real`.
#[inline]
pub(crate) fn to_wire(real: f64) -> u64 {
    if real.is_finite() {
        real.to_bits()
    } else if real.is_nan() {
        NAN_ON_WIRE
    } else if real.is_sign_positive() {
        INFINITY_ON_WIRE
    } else {
        NEGATIVE_INFINITY_ON_WIRE
    }
}

/// Returns the real that 64 bits stand for.
#[inline]
pub(crate) fn from_wire(bits: u64) -> f64 {
    if bits & EXPONENT == EXPONENT {
        return special_from_wire(bits);
    }
    f64::from_bits(bits)
}

#[cold]
fn special_from_wire(bits: u64) -> f64 {
    if bits == NAN_ON_WIRE {
        return f64::NAN;
    }
    // The infinities have the opposite sign. What would be any other NaN is a number that
    // overflows, so there the sign is as usual.
    let overflows = bits & MANTISSA != 0;
    if (bits & SIGN == 0) == overflows {
        f64::INFINITY
    } else {
        f64::NEG_INFINITY
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn infinities_have_the_opposite_sign() {
        assert_eq!(to_wire(f64::INFINITY), 0xfff0_0000_0000_0000);
        assert_eq!(to_wire(f64::NEG_INFINITY), 0x7ff0_0000_0000_0000);
        assert_eq!(from_wire(0xfff0_0000_0000_0000), f64::INFINITY);
        assert_eq!(from_wire(0x7ff0_0000_0000_0000), f64::NEG_INFINITY);
    }

    #[test]
    fn there_is_one_nan() {
        for nan in [f64::NAN, -f64::NAN, f64::from_bits(0x7ff0_0000_0000_0001)] {
            assert_eq!(to_wire(nan), u64::MAX);
        }
        assert!(from_wire(u64::MAX).is_nan());
        assert_eq!(from_wire(0x7ff8_0000_0000_0000), f64::INFINITY);
        assert_eq!(from_wire(0xfff8_0000_0000_0000), f64::NEG_INFINITY);
        assert_eq!(from_wire(0x7fff_ffff_ffff_ffff), f64::INFINITY);
        assert_eq!(from_wire(0xffff_ffff_ffff_fffe), f64::NEG_INFINITY);
    }

    #[test]
    fn subnormals_are_ieee_bits() {
        assert_eq!(to_wire(5e-324), 1);
        assert_eq!(from_wire(1), 5e-324);
        assert_eq!(
            from_wire(0x800f_ffff_ffff_ffff),
            -2.225_073_858_507_201e-308
        );
    }

    proptest! {
        #[test]
        fn all_reals_but_nan_survive(bits: u64) {
            let real = f64::from_bits(bits);
            prop_assume!(!real.is_nan());
            prop_assert_eq!(from_wire(to_wire(real)).to_bits(), bits);
        }
    }
}
