//! A recording as a table: the columns of [`crate::backend::csv`], numbers as short as they are read back to the bit,
//! flags 0 and 1.

use super::Rows;
use crate::recording::Recording;
use std::io::{Result, Write};

pub(super) fn write(recording: &Recording, out: impl Write) -> Result<()> {
    let rows = Rows::of_recording(recording);
    let mut table = csv::Writer::from_writer(out);
    let mut header: Vec<String> = Vec::new();
    for (key, array) in &rows.matrices {
        header.extend((0..array.ncols()).map(|k| format!("{key}_{k}")));
    }
    header.push("rewards".into());
    header.extend(rows.flags.iter().map(|(key, _)| key.to_string()));
    header.extend(rows.action_log_probs.map(|_| "infos/action_log_probs".into()));
    table.write_record(&header)?;
    for i in 0..recording.len() {
        for (_, array) in &rows.matrices {
            for x in array.row(i) {
                table.write_field(x.to_string())?;
            }
        }
        table.write_field(rows.rewards[i].to_string())?;
        for (_, flags) in &rows.flags {
            table.write_field(if flags[i] { "1" } else { "0" })?;
        }
        if let Some(p) = rows.action_log_probs {
            table.write_field(p[i].to_string())?;
        }
        table.write_record(None::<&[u8]>)?;
    }
    table.flush()
}
