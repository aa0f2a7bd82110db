//! Dequantization of the K types: super-blocks of 256 elements, whose parts have their own scales.

use crate::dequantize::half_at;

/// The six-bit scale and minimum of sub-block `at`, of eight. Bytes 0 to 3 hold the scales and bytes
/// 4 to 7 the minima of the first four in their low six bits. The low four bits of the last four's
/// are in bytes 8 to 11, the high two in the free bits of bytes 0 to 7.
fn scale_and_minimum(packed: &[u8; 12], at: usize) -> (f32, f32) {
    let (scale, minimum) = match at {
        0..4 => (packed[at] & 63, packed[at + 4] & 63),
        _ => (packed[at + 4] & 15 | packed[at - 4] >> 6 << 4, packed[at + 4] >> 4 | packed[at] >> 6 << 4),
    };
    (f32::from(scale), f32::from(minimum))
}

/// The scales of a `Q4_K` or `Q5_K` block.
struct Scales {
    d: f32,
    d_minimum: f32,
    packed: [u8; 12],
}

impl Scales {
    fn of<const B: usize>(block: &[u8; B]) -> Self {
        let packed = std::array::from_fn(|at| block[4 + at]);
        Scales { d: half_at(block, 0), d_minimum: half_at(block, 2), packed }
    }

    /// Factor and subtrahend of sub-block `at`.
    fn of_sub_block(&self, at: usize) -> (f32, f32) {
        let (scale, minimum) = scale_and_minimum(&self.packed, at);
        (self.d * scale, self.d_minimum * minimum)
    }
}

pub(crate) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let scales = Scales::of(block);
    let pairs = block[16..].as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<64>().0);
    for (at, (bytes, out)) in pairs.enumerate() {
        let (low_factor, low_minimum) = scales.of_sub_block(2 * at);
        let (high_factor, high_minimum) = scales.of_sub_block(2 * at + 1);
        let (low, high) = out.split_at_mut(32);
        for ((&byte, low), high) in bytes.iter().zip(low).zip(high) {
            *low = low_factor * f32::from(byte & 15) - low_minimum;
            *high = high_factor * f32::from(byte >> 4) - high_minimum;
        }
    }
}

pub(crate) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let scales = Scales::of(block);
    let fifth_bits = &block[16..48];
    let pairs = block[48..].as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<64>().0);
    for (at, (bytes, out)) in pairs.enumerate() {
        let (low_factor, low_minimum) = scales.of_sub_block(2 * at);
        let (high_factor, high_minimum) = scales.of_sub_block(2 * at + 1);
        let (low, high) = out.split_at_mut(32);
        // Bit i of a byte belongs to sub-block i.
        for (((&byte, &bits), low), high) in bytes.iter().zip(fifth_bits).zip(low).zip(high) {
            let bits = bits >> (2 * at);
            *low = low_factor * f32::from(byte & 15 | (bits & 1) << 4) - low_minimum;
            *high = high_factor * f32::from(byte >> 4 | (bits >> 1 & 1) << 4) - high_minimum;
        }
    }
}

pub(crate) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = half_at(block, 208);
    let (low_bits, rest) = block.split_at(128);
    let (high_bits, scales) = rest.split_at(64);
    for (half, out) in out.as_chunks_mut::<128>().0.iter_mut().enumerate() {
        let (low_bits, high_bits) = (&low_bits[64 * half..][..64], &high_bits[32 * half..][..32]);
        for (quarter, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            // The low bits of quarters 0 and 1 are in the low, those of 2 and 3 in the high half-bytes.
            let low_bits = &low_bits[32 * (quarter % 2)..][..32];
            for (at, (&low, &high)) in low_bits.iter().zip(high_bits).enumerate() {
                let low = low >> (4 * (quarter / 2)) & 15;
                let number = i32::from(low | (high >> (2 * quarter) & 3) << 4) - 32;
                let scale = scales[8 * half + 2 * quarter + at / 16] as i8;
                out[at] = d * f32::from(scale) * number as f32;
            }
        }
    }
}
