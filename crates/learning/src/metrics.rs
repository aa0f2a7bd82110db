//! What training measured: JSON lines, and TensorBoard events beside them.

use anyhow::{Context, Result};
use serde_json::{Map, Value};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::StepReport;

/// Appends each step to `NAME.jsonl` and to a TensorBoard event file in `tensorboard/NAME/`.
pub struct MetricsWriter {
    path: PathBuf,
    lines: File,
    events: File,
}

impl MetricsWriter {
    /// Opens the files of a stage in a run's directory for metrics. Steps after `done` are dropped
    /// from the JSON lines: a resumed stage writes them again.
    ///
    /// # Errors
    /// Where the directory cannot be written.
    pub fn open(directory: &Path, name: &str, done: usize) -> Result<Self> {
        let boards = directory.join("tensorboard").join(name);
        let path = directory.join(format!("{name}.jsonl"));
        let context = || format!("cannot write {}", path.display());
        std::fs::create_dir_all(&boards).with_context(context)?;
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        let kept: String = old.lines().take(done).map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, kept).with_context(context)?;
        let lines = OpenOptions::new().append(true).open(&path).with_context(context)?;
        let seconds = now() as u64;
        let events_path = boards.join(format!("events.out.tfevents.{seconds}.ncomp.{done}"));
        let events =
            File::create(&events_path).with_context(|| format!("cannot write {}", events_path.display()))?;
        let mut writer = MetricsWriter { path, lines, events };
        writer.event(&[(9, &now().to_le_bytes(), 1), (26, b"brain.Event:2", 2)])?;
        Ok(writer)
    }

    /// Adds one step.
    ///
    /// # Errors
    /// Where the disk refuses it.
    pub fn write(&mut self, report: &StepReport) -> Result<()> {
        let mut fields = Map::from_iter([("step".to_owned(), Value::from(report.step))]);
        let mut summary = Vec::new();
        for (name, value) in &report.metrics {
            fields.insert((*name).to_owned(), Value::from(*value));
            // Summary.Value: tag (1), simple_value (2); repeated as field 1 of Summary.
            let mut entry = Vec::new();
            put_bytes(&mut entry, 0x0a, name.as_bytes());
            entry.push(0x15);
            entry.extend((*value as f32).to_le_bytes());
            put_bytes(&mut summary, 0x0a, &entry);
        }
        let line = Value::Object(fields).to_string() + "\n";
        self.lines
            .write_all(line.as_bytes())
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        let mut step = Vec::new();
        put_varint(&mut step, report.step as u64);
        self.event(&[(9, &now().to_le_bytes(), 1), (16, &step, 0), (42, &summary, 2)])
    }

    /// One `Event` message (tensorflow/core/util/event.proto) as a record: length, masked CRC of
    /// the length, data, masked CRC of the data. Each field is its key byte, its bytes and its
    /// wire type.
    fn event(&mut self, fields: &[(u8, &[u8], u8)]) -> Result<()> {
        let mut data = Vec::new();
        for (key, bytes, wire_type) in fields {
            match wire_type {
                2 => put_bytes(&mut data, *key, bytes),
                _ => {
                    data.push(*key);
                    data.extend_from_slice(bytes);
                }
            }
        }
        let length = (data.len() as u64).to_le_bytes();
        let record = [&length[..], &masked_crc(&length), &data, &masked_crc(&data)].concat();
        self.events.write_all(&record).context("cannot write TensorBoard events")
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_bytes(out: &mut Vec<u8>, key: u8, bytes: &[u8]) {
    out.push(key);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// TFRecord's checksum: a rotated and shifted CRC-32C.
fn masked_crc(bytes: &[u8]) -> [u8; 4] {
    let crc = crc32c::crc32c(bytes);
    crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}
