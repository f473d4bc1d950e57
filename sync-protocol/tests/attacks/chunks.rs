//! Chunks of changes as no library writes them.

use sha2::{Digest as _, Sha256};

/// Columns of operations by their numbers in the format.
pub(crate) const KEY_TEXT: u64 = 0x15;
pub(crate) const ACTION: u64 = 0x42;
pub(crate) const INSERT: u64 = 0x34;
pub(crate) const VALUE_LENGTH: u64 = 0x56;
pub(crate) const PREDECESSORS: u64 = 0x70;
pub(crate) const PREDECESSOR_ACTOR: u64 = 0x71;
pub(crate) const PREDECESSOR_COUNTER: u64 = 0x73;

pub(crate) fn unsigned(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

pub(crate) fn signed(mut n: i64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let byte = (n & 0x7f) as u8;
        n >>= 7;
        if (n == 0 && byte & 0x40 == 0) || (n == -1 && byte & 0x40 != 0) {
            out.push(byte);
            return out;
        }
        out.push(byte | 0x80);
    }
}

/// So many times the same value; once is written as a row of one single value.
pub(crate) fn run(times: u64, value: &[u8]) -> Vec<u8> {
    let count = if times == 1 { -1 } else { times as i64 };
    [signed(count), value.to_vec()].concat()
}

pub(crate) fn text(text: &[u8]) -> Vec<u8> {
    [unsigned(text.len() as u64), text.to_vec()].concat()
}

/// The body of a first change of actor `[1]`.
pub(crate) fn body(start_op: u64, columns: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut body = vec![0, 1, 1, 1];
    body.extend(unsigned(start_op));
    // Time, message, other actors.
    body.extend([0, 0, 0]);
    body.push(columns.len() as u8);
    for (specification, data) in columns {
        body.extend(unsigned(*specification));
        body.extend(unsigned(data.len() as u64));
    }
    body.extend(columns.iter().flat_map(|(_, data)| data.clone()));
    body
}

pub(crate) fn checksum(kind: u8, data: &[u8]) -> [u8; 4] {
    let header = [vec![kind], unsigned(data.len() as u64)].concat();
    let hash = Sha256::new().chain_update(&header).chain_update(data).finalize();
    [hash[0], hash[1], hash[2], hash[3]]
}

pub(crate) fn chunk_with(kind: u8, data: &[u8], sum: [u8; 4]) -> Vec<u8> {
    [&[0x85, 0x6f, 0x4a, 0x83], sum.as_slice(), &[kind], &unsigned(data.len() as u64), data].concat()
}

pub(crate) fn change(body: &[u8]) -> Vec<u8> {
    chunk_with(1, body, checksum(1, body))
}

/// A sync message around one chunk.
pub(crate) fn message(chunk: &[u8]) -> Vec<u8> {
    [&[0x42, 0, 0, 0, 1], unsigned(chunk.len() as u64).as_slice(), chunk].concat()
}
