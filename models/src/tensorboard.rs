//! Metrics as TensorBoard reads them: event files of framed protocol buffers.
//!
//! A record is its length, a check sum of the length, the bytes, and a check sum of them; the check sums are masked CRC-32C, all
//! numbers little-endian (`tensorflow/core/lib/io/record_writer.cc`). An event is a `tensorflow.Event`. Invariant: each record
//! goes to the file in one write, so that a crash leaves at most the last one incomplete, which readers pass over.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// An open event file.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins a file in a folder, for a run that goes on after `step` updates. What other files of the folder say of later
    /// steps is void: readers drop it.
    pub fn create(folder: &Path, step: u64) -> io::Result<EventFile> {
        let seconds = now() as u64;
        for attempt in 0.. {
            let name = format!("events.out.tfevents.{seconds}.carousel.{}.{attempt}", std::process::id());
            let path = folder.join(name);
            let file = match OpenOptions::new().create_new(true).append(true).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                opened => opened?,
            };
            let mut events = EventFile { path, file };
            events.write(&[string(3, "brain.Event:2")])?;
            // A session log that says START.
            events.write(&[number(2, step), message(7, &[number(1, 1)])])?;
            return Ok(events);
        }
        unreachable!("every name is taken")
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends numbers under their names.
    pub fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> io::Result<()> {
        let value = |(tag, value): &(&str, f64)| message(1, &[string(1, tag), float(2, *value as f32)]);
        let values: Vec<Vec<u8>> = values.iter().map(value).collect();
        self.write(&[number(2, step), message(5, &values)])
    }

    fn write(&mut self, fields: &[Vec<u8>]) -> io::Result<()> {
        let event = [double(1, now()), fields.concat()].concat();
        self.file.write_all(&record(&event))
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    [&length[..], &masked(crc32c(&length)).to_le_bytes(), bytes, &masked(crc32c(bytes)).to_le_bytes()]
        .concat()
}

/// A check sum of bytes that hold check sums would be weak without it.
fn masked(sum: u32) -> u32 {
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

fn crc32c(bytes: &[u8]) -> u32 {
    // The polynomial of Castagnoli, bits reversed.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let step = |sum: u32| if sum & 1 == 1 { sum >> 1 ^ POLYNOMIAL } else { sum >> 1 };
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| step(sum)))
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A field's tag: its number and how its value is written.
fn tag(field: u64, wire: u64) -> Vec<u8> {
    varint(field << 3 | wire)
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [tag(field, 0), varint(value)].concat()
}

fn double(field: u64, value: f64) -> Vec<u8> {
    [tag(field, 1), value.to_le_bytes().to_vec()].concat()
}

fn float(field: u64, value: f32) -> Vec<u8> {
    [tag(field, 5), value.to_le_bytes().to_vec()].concat()
}

fn string(field: u64, value: &str) -> Vec<u8> {
    [tag(field, 2), varint(value.len() as u64), value.as_bytes().to_vec()].concat()
}

fn message(field: u64, parts: &[Vec<u8>]) -> Vec<u8> {
    let bytes = parts.concat();
    [tag(field, 2), varint(bytes.len() as u64), bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_sums_of_known_answers() {
        // RFC 3720, B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(masked(0), 0xa282_ead8);
    }

    #[test]
    fn numbers_of_any_size() {
        assert_eq!(varint(0), [0]);
        assert_eq!(varint(127), [127]);
        assert_eq!(varint(300), [0xac, 2]);
        assert_eq!(varint(u64::MAX).len(), 10);
    }

    #[test]
    fn a_file_is_framed_records() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = EventFile::create(folder.path(), 3).unwrap();
        events.scalars(4, &[("train/loss", 1.5)]).unwrap();
        let bytes = std::fs::read(events.path()).unwrap();
        let (mut rest, mut records) = (&bytes[..], Vec::new());
        while let Some((length, after)) = rest.split_first_chunk::<8>() {
            let count = u64::from_le_bytes(*length) as usize;
            assert_eq!(record(&after[4..4 + count])[..], rest[..16 + count]);
            records.push(&after[4..4 + count]);
            rest = &rest[16 + count..];
        }
        assert!(rest.is_empty() && records.len() == 3);
        assert!(records[0].ends_with(b"brain.Event:2"));
        // Behind the time: step 4, then a summary of one value.
        let wanted =
            [&[0x10, 4, 0x2a, 19, 0x0a, 17, 0x0a, 10][..], b"train/loss", &[0x15], &1.5f32.to_le_bytes()]
                .concat();
        assert_eq!(records[2][9..], wanted);
        // Another run in the same second has a file of its own.
        assert_ne!(EventFile::create(folder.path(), 0).unwrap().path(), events.path());
    }
}
