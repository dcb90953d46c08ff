//! Observations that are dictionaries, as one vector.
//!
//! The parts follow one another in this order: `observation`, `achieved_goal`, `desired_goal`, then what else there is by
//! name (parts of a tuple by number), inner dictionaries where their name stands. `--env gym:ID` flattens what it sees in the same
//! order, so a policy that was trained on such data acts there.

use crate::backend::{Backend, Info};
use crate::error::{Error, Result};

const FIRST: [&str; 3] = ["observation", "achieved_goal", "desired_goal"];

/// Deepest dictionary in a dictionary that is followed.
const DEEPEST: usize = 8;

/// The datasets of a key in order: of a group those below it, otherwise the key itself if it is there. Error: both, which a file
/// of names alone can have.
pub(crate) fn parts<B: Backend>(file: &B, label: &str, key: &str) -> Result<Vec<(String, Info)>> {
    let mut found = Vec::new();
    gather(file, key, DEEPEST, &mut found)?;
    match found.iter().find(|(part, _)| part != key) {
        Some((part, _)) if matches!(file.info(key), Ok(Some(_))) => Err(Error::Shape {
            file: label.into(),
            key: key.into(),
            expected: "one array, or parts of it with names of their own".into(),
            got: format!("both, with the part `{part}`"),
        }),
        _ => Ok(found),
    }
}

fn gather<B: Backend>(file: &B, key: &str, deep: usize, out: &mut Vec<(String, Info)>) -> Result<()> {
    // What has no names inside is a dataset, or nothing.
    match file.children(key) {
        Ok(mut names) if deep > 0 => {
            names.sort_by_cached_key(|name| place(name));
            names.iter().try_for_each(|name| gather(file, &format!("{key}/{name}"), deep - 1, out))
        }
        _ => {
            out.extend(file.info(key)?.map(|info| (key.to_string(), info)));
            Ok(())
        }
    }
}

fn place(name: &str) -> (usize, u64, String) {
    let first = FIRST.iter().position(|n| *n == name).unwrap_or(FIRST.len());
    let number = name.strip_prefix("_index_").and_then(|n| n.parse().ok()).unwrap_or(u64::MAX);
    (first, number, name.into())
}

/// Numbers per row of a part, whose first extent is the rows. `None` for one that has no rows, or nothing in them.
pub(crate) fn width(info: &Info) -> Option<usize> {
    let (_, rest) = info.shape.split_first()?;
    let width = rest.iter().try_fold(1u64, |w, extent| w.checked_mul(*extent))?;
    usize::try_from(width).ok().filter(|w| *w > 0)
}

/// Reads parts, each `[rows, width]`, and lays them side by side: `[rows, sum of widths]`, row-major. Error: a part that
/// has not as many numbers.
pub(crate) fn read<B: Backend>(
    file: &B,
    label: &str,
    parts: &[(String, usize)],
    rows: usize,
) -> Result<Vec<f32>> {
    let bad = |key: &str, width: usize, got: usize| Error::Shape {
        file: label.into(),
        key: key.into(),
        expected: format!("({rows}, {width})"),
        got: format!("{got} elements"),
    };
    let fits = |key: &str, width: usize, values: Vec<f32>| match values.len() == rows * width {
        true => Ok(values),
        false => Err(bad(key, width, values.len())),
    };
    if let [(key, width)] = parts {
        return fits(key, *width, file.read_f32(key)?);
    }
    let whole: usize = parts.iter().map(|(_, width)| width).sum();
    let (mut out, mut at) = (vec![0.0; rows * whole], 0);
    for (key, width) in parts {
        let values = fits(key, *width, file.read_f32(key)?)?;
        for (row, part) in out.chunks_exact_mut(whole).zip(values.chunks_exact(*width)) {
            row[at..at + width].copy_from_slice(part);
        }
        at += width;
    }
    Ok(out)
}
