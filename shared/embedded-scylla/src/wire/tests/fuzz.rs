//! Frames by the hundred thousand: sound ones, damaged ones and noise, packed and not. The decoder
//! neither panics nor makes more of a frame than there is in it.

use crate::wire::compression::Compression;
use crate::wire::{HEADER_LEN, Header, request};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use std::time::{Duration, Instant};

const FRAMES: usize = 150_000;
/// Far above what it takes, far below what a quadratic decoder would take.
const TIME_MAX: Duration = Duration::from_secs(60);

fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| rand::rng().next_u64());
    println!("SEED={seed}");
    seed
}

fn long_string(random: &mut StdRng, out: &mut Vec<u8>) {
    let text = "SELECT * FROM k.t WHERE p = ?".repeat(random.random_range(0..4));
    out.extend((text.len() as u32).to_be_bytes());
    out.extend(text.as_bytes());
}

fn parameters(random: &mut StdRng, out: &mut Vec<u8>) {
    out.extend(random.random_range(0..12_u16).to_be_bytes());
    out.push(random.random());
    let count = random.random_range(0..6_u16);
    out.extend(count.to_be_bytes());
    for _ in 0..count {
        let length = random.random_range(-2..12_i32);
        out.extend(length.to_be_bytes());
        out.extend(vec![7; usize::try_from(length).unwrap_or(0)]);
    }
    for _ in 0..random.random_range(0..24) {
        out.push(random.random());
    }
}

/// A body that is right, or nearly so.
fn body(random: &mut StdRng) -> (u8, Vec<u8>) {
    let opcode = [0x01, 0x05, 0x07, 0x09, 0x0a, 0x0b, 0x0d, 0x0f][random.random_range(0..8)];
    let mut out = Vec::new();
    match opcode {
        0x01 => out.extend(b"\x00\x01\x00\x0bCQL_VERSION\x00\x053.3.1"),
        0x0b => out.extend(b"\x00\x01\x00\x0dSCHEMA_CHANGE"),
        0x09 => long_string(random, &mut out),
        0x07 => {
            long_string(random, &mut out);
            parameters(random, &mut out);
        }
        0x0a => {
            out.extend(b"\x00\x10aaaabbbbccccdddd");
            parameters(random, &mut out);
        }
        0x0d => {
            out.push(random.random_range(0..3));
            let count = random.random_range(0..4_u16);
            out.extend(count.to_be_bytes());
            for _ in 0..count {
                out.push(0);
                long_string(random, &mut out);
                out.extend(b"\x00\x01\x00\x00\x00\x02ab");
            }
            parameters(random, &mut out);
        }
        _ => {}
    }
    (opcode, out)
}

/// Wrong bytes, lengths of all kinds, missing and additional bytes.
fn damage(random: &mut StdRng, body: &mut Vec<u8>) {
    for _ in 0..random.random_range(0..4) {
        if body.is_empty() {
            break;
        }
        let at = random.random_range(0..body.len());
        match random.random_range(0..5) {
            0 => body[at] = random.random(),
            1 => body.truncate(at),
            2 => body.extend_from_within(at..),
            3 => {
                // A huge or negative length where one may be.
                let huge: u32 = [u32::MAX, 0x7fff_ffff, 0x8000_0000, 0x0fff_ffff][at % 4];
                let end = body.len().min(at + 4);
                body[at..end].copy_from_slice(&huge.to_be_bytes()[..end - at]);
            }
            _ => body[at] ^= 1 << (at % 8),
        }
    }
}

#[test]
fn any_frame_is_decoded_or_refused() {
    let mut random = StdRng::seed_from_u64(seed());
    let begun = Instant::now();
    let (mut decoded, mut refused) = (0_usize, 0_usize);
    for number in 0..FRAMES {
        let (opcode, mut body) = body(&mut random);
        damage(&mut random, &mut body);
        let opcode = if random.random_bool(0.05) { random.random() } else { opcode };
        let flags = if random.random_bool(0.1) { random.random() } else { 0 };
        let len = body.len();
        match request::decode(flags, opcode, Bytes::from(body.clone())) {
            Ok(request) => {
                decoded += 1;
                // What it says of itself is hex and names: a small multiple of what it was made of.
                let said = format!("{request:?}").len();
                assert!(
                    said <= 4096 + 64 * len,
                    "frame {number}: {said} bytes of {len}: {body:02x?}"
                );
            }
            Err(error) => {
                refused += 1;
                assert!(error.message.len() <= 4096 + 4 * len, "frame {number}: {error:?}");
            }
        }
    }
    println!("{decoded} decoded, {refused} refused in {:?}", begun.elapsed());
    assert!(decoded > FRAMES / 10 && refused > FRAMES / 10, "one-sided frames");
    assert!(begun.elapsed() < TIME_MAX, "too slow");
}

#[test]
fn any_header_is_judged() {
    let mut random = StdRng::seed_from_u64(seed());
    for _ in 0..FRAMES {
        let mut header: [u8; HEADER_LEN] = random.random();
        if random.random_bool(0.5) {
            header[0] = 4;
        }
        let stream = i16::from_be_bytes([header[2], header[3]]);
        match Header::decode(&header) {
            Ok(decoded) => assert_eq!((header[0], decoded.stream), (4, stream)),
            Err((answered, _)) => assert!(header[0] != 4 && answered == stream),
        }
    }
}

#[test]
fn packed_bodies_unpack_to_what_they_say_or_are_refused() {
    let mut random = StdRng::seed_from_u64(seed());
    let begun = Instant::now();
    let mut unpacked = 0_usize;
    for number in 0..FRAMES / 5 {
        let compression = if random.random() { Compression::Lz4 } else { Compression::Snappy };
        let plain = vec![number as u8; random.random_range(0..4096)];
        let mut packed = match compression {
            Compression::Lz4 => {
                let mut packed = (plain.len() as u32).to_be_bytes().to_vec();
                packed.extend(lz4_flex::block::compress(&plain));
                packed
            }
            Compression::Snappy => {
                snap::raw::Encoder::new().compress_vec(&plain).expect("small enough")
            }
        };
        if random.random_bool(0.7) {
            damage(&mut random, &mut packed);
        }
        // A bomb says that it unpacks to far more than its bytes can hold.
        let Ok(len) = compression.uncompressed_len(&packed) else { continue };
        assert!(len <= packed.len() * 255, "{len} out of {} bytes", packed.len());
        if let Ok(body) = compression.decompress(&packed) {
            assert_eq!(body.len(), len);
            unpacked += 1;
        }
    }
    println!("{unpacked} unpacked in {:?}", begun.elapsed());
    assert!(unpacked > FRAMES / 50);
    assert!(begun.elapsed() < TIME_MAX, "too slow");
}
