//! Tokens of partition keys.
//!
//! Murmur3 x64-128 as Cassandra has it: the bytes of the tail are sign-extended, and the first 64
//! bits are the token.

use bytes::Bytes;

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

/// The token of a partition key under the Murmur3 partitioner. `components` are the key's values,
/// CQL-serialised, in key order.
pub fn token(components: &[Bytes]) -> i64 {
    match components {
        [single] => hash(single),
        _ => hash(&composite(components)),
    }
}

/// The token of a stream id under the CDC partitioner: its first eight bytes; the minimum for
/// anything that is not a stream id.
pub fn cdc_token(key: &[u8]) -> i64 {
    match key.first_chunk::<8>() {
        Some(head) if key.len() == 16 => i64::from_be_bytes(*head),
        _ => i64::MIN,
    }
}

/// How a composite partition key is serialised: per component u16 length, bytes, a zero byte. A
/// single component stands for itself.
pub fn serialized_key(components: &[Bytes]) -> Bytes {
    match components {
        [single] => single.clone(),
        _ => composite(components).into(),
    }
}

fn composite(components: &[Bytes]) -> Vec<u8> {
    let size = components.iter().map(|component| component.len() + 3).sum();
    let mut out = Vec::with_capacity(size);
    for component in components {
        // Longer components are refused before they get here (at most 65,535 bytes).
        let length = u16::try_from(component.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(component);
        out.push(0);
    }
    out
}

fn hash(key: &[u8]) -> i64 {
    let (mut h1, mut h2) = (0u64, 0u64);
    let mut blocks = key.chunks_exact(16);
    for block in &mut blocks {
        let (k1, k2) = (lane(&block[..8]), lane(&block[8..]));
        h1 ^= mix1(k1);
        h1 = h1.rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 ^= mix2(k2);
        h2 = h2.rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let tail = blocks.remainder();
    let (low, high) = tail.split_at(tail.len().min(8));
    h2 ^= mix2(signed_lane(high));
    h1 ^= mix1(signed_lane(low));

    let length = key.len() as u64;
    h1 ^= length;
    h2 ^= length;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    h1 = finish(h1);
    h2 = finish(h2);
    match h1.wrapping_add(h2) as i64 {
        // The minimum is no token: it marks the start of the ring.
        i64::MIN => i64::MAX,
        token => token,
    }
}

fn lane(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |lane, byte| lane << 8 | u64::from(*byte))
}

/// Each byte sign-extended before it is shifted to its place.
fn signed_lane(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .enumerate()
        .fold(0, |lane, (index, byte)| lane ^ ((i64::from(*byte as i8) as u64) << (8 * index)))
}

fn mix1(k: u64) -> u64 {
    k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn mix2(k: u64) -> u64 {
    k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn finish(mut h: u64) -> u64 {
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ h >> 33
}
