//! One round with everything in it: batch, noise, results of all kernels (where operations run in blocks of rows, what
//! leaves their region), gradients, parameters before and after.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use crate::audit::Error;
use crate::autodiff::{Flow, OpView, Probe, RoundView, Shape, Store, Trace, UpdateView};
use crate::checkpoint::atomic::Draft;
use crate::checkpoint::container::{self, Reader, Writer};

/// Key of the names in order of time.
const ORDER: &str = "order";

/// A named tensor of the round.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// what it is, as in `op/value/003` or `gradient/value/v.layer0.weight`
    pub name: String,
    /// how it was computed; empty for what was there before
    pub text: String,
    /// extents
    pub shape: Vec<usize>,
    /// numbers, row-major
    pub values: Vec<f32>,
}

/// Keeps one round, in order of time.
#[derive(Debug, Default)]
pub struct Capture {
    round: u64,
    open: bool,
    /// row indices of the batch; after them those of a model that is trained beside the round
    pub rows: Vec<u32>,
    /// everything else
    pub pieces: Vec<Piece>,
}

impl Capture {
    /// Waits for this round, counted from 0.
    pub fn of(round: u64) -> Capture {
        Capture { round, ..Capture::default() }
    }

    /// The tensor of that name.
    pub fn find(&self, name: &str) -> Option<&Piece> {
        self.pieces.iter().find(|p| p.name == name)
    }

    fn push(&mut self, name: String, text: &str, shape: &[usize], values: Vec<f32>) {
        self.pieces.push(Piece { name, text: text.into(), shape: shape.to_vec(), values });
    }

    fn state(&mut self, when: &str, store: &Store) {
        let table = store.table();
        for (kind, tensors) in
            [("", &store.values), ("adam.first.", &store.first), ("adam.second.", &store.second)]
        {
            for id in table.ids() {
                let Shape { rows, cols, .. } = table.param(id).shape;
                for (path, range) in table.paths(id) {
                    let values = tensors[id.index()][range].to_vec();
                    self.push(format!("{when}/{kind}{path}"), "", &[rows, cols], values);
                }
            }
        }
    }

    /// Writes a new safetensors file. In its metadata: `note`, the texts of all operations, and the names in order of time,
    /// which the layout does not keep, one per line. Errors: something is at `path` already, another process is writing
    /// it, or it cannot be written.
    pub fn export(&self, path: &Path, note: &str) -> Result<(), Error> {
        let mut w = Writer::new();
        w.text("about", note);
        w.text(ORDER, self.pieces.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join("\n"));
        w.tensor("rows", &[self.rows.len()], self.rows.iter().map(|r| u64::from(*r)).collect::<Vec<_>>());
        for piece in &self.pieces {
            w.tensor(&piece.name, &piece.shape, &piece.values[..]);
            if !piece.text.is_empty() {
                w.text(&piece.name, piece.text.as_str());
            }
        }
        let create = || {
            let mut draft = Draft::of(path)?;
            draft.file().write_all(&w.to_bytes())?;
            draft.create()
        };
        create().map_err(Error::io(path, "write the file"))
    }

    /// Reads such a file. Errors: it cannot be read, is no safetensors file or a damaged one, or lacks the rows, the
    /// order or a tensor that the order names, or has one of another element type.
    pub fn import(path: &Path) -> Result<Capture, container::Error> {
        let file = Reader::open(path)?;
        let rows = file.tensor::<u64>("rows", file.shape("rows")?)?;
        let wrong = |row: u64| container::Error::Entry {
            file: path.into(),
            key: "rows".into(),
            expected: "numbers below 2^32".into(),
            got: row.to_string(),
        };
        let rows = rows.into_iter().map(|row| u32::try_from(row).map_err(|_| wrong(row)));
        let mut found = Capture { rows: rows.collect::<Result<_, _>>()?, ..Capture::default() };
        for name in file.text(ORDER)?.lines() {
            let shape = file.shape(name)?;
            let text = file.find_text(name).unwrap_or_default();
            found.push(name.into(), text, shape, file.tensor(name, shape)?);
        }
        Ok(found)
    }
}

/// The gradient in which two captures differ most: |x - y| / |y| as vectors, and its name.
pub fn widest_gradient(a: &Capture, b: &Capture) -> Option<(f64, String)> {
    let gradients = a.pieces.iter().filter(|p| p.name.starts_with("gradient/"));
    let both = gradients.filter_map(|x| Some((x, b.find(&x.name)?)));
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let each = both.map(|(x, y)| {
        let pairs = x.values.iter().zip(&y.values).map(|(x, y)| (f64::from(*x), f64::from(*y)));
        let gap = norm(&mut pairs.clone().map(|(x, y)| x - y));
        (gap / norm(&mut pairs.map(|(_, y)| y)).max(f64::MIN_POSITIVE), x.name.clone())
    });
    each.max_by(|a, b| a.0.total_cmp(&b.0))
}

/// Where two captures of the same round part.
#[derive(Clone, Debug, PartialEq)]
pub struct Parting {
    /// what differs first, in order of time
    pub name: String,
    /// how it was computed
    pub text: String,
    /// the element, row-major, and its index
    pub element: usize,
    /// extents
    pub shape: Vec<usize>,
    /// its two values
    pub values: (f32, f32),
    /// how many elements of it differ
    pub differing: usize,
}

/// The first tensor and element in which two captures differ, by bits; `None` if they are equal. Captures of different
/// programs differ in the name or the text of a tensor, which is an error in words.
pub fn first_difference(a: &Capture, b: &Capture) -> Result<Option<Parting>, String> {
    if a.rows != b.rows {
        let at =
            a.rows.iter().zip(&b.rows).position(|(a, b)| a != b).unwrap_or(a.rows.len().min(b.rows.len()));
        let of = |c: &Capture| c.rows.get(at).map_or("nothing".into(), u32::to_string);
        return Err(format!(
            "the batches are drawn differently: row {at} of the batch is transition {} and {}",
            of(a),
            of(b)
        ));
    }
    for (x, y) in a.pieces.iter().zip(&b.pieces) {
        if (&x.name, &x.text, &x.shape) != (&y.name, &y.text, &y.shape) {
            return Err(format!(
                "the programs differ: {} {} {:?} and {} {} {:?}",
                x.name, x.text, x.shape, y.name, y.text, y.shape
            ));
        }
        let differs = |(x, y): (&f32, &f32)| x.to_bits() != y.to_bits();
        let pairs = || x.values.iter().zip(&y.values);
        if let Some(element) = pairs().position(differs) {
            return Ok(Some(Parting {
                name: x.name.clone(),
                text: x.text.clone(),
                element,
                shape: x.shape.clone(),
                values: (x.values[element], y.values[element]),
                differing: pairs().filter(|pair| differs(*pair)).count(),
            }));
        }
    }
    match a.pieces.len() == b.pieces.len() {
        true => Ok(None),
        false => Err("the programs differ: one computes more than the other".into()),
    }
}

impl Probe for Capture {
    /// What another phase did in its round of this number is not part of the one that is waited for.
    fn phase(&mut self, _: &'static str, _: &Arc<Trace>) -> Flow {
        self.open = false;
        self.rows.clear();
        self.pieces.clear();
        Flow::Continue
    }

    fn round(&mut self, view: &RoundView<'_>) -> Flow {
        self.open = view.pass.clock.round == self.round;
        if self.open {
            // Of the same phase: a model beside the round, which runs after it.
            let beside = match self.pieces.is_empty() {
                true => String::new(),
                false => view.program().updates().first().map(|u| format!("{}/", u.name)).unwrap_or_default(),
            };
            self.rows.extend(view.pass.rows);
            self.pieces.retain(|p| !p.name.starts_with("after/"));
            for (name, values) in view.columns() {
                self.push(
                    format!("{beside}batch/{name}"),
                    "",
                    values.shape(),
                    values.iter().copied().collect(),
                );
            }
            for (k, (name, values)) in view.noise().into_iter().enumerate() {
                let name = name.replace(' ', "_");
                self.push(format!("{beside}noise/{k:02}.{name}"), "", &[values.len()], values);
            }
            if beside.is_empty() {
                self.state("before", view.store);
            }
        }
        Flow::Continue
    }

    fn op(&mut self, view: &OpView<'_>) -> Flow {
        // A region itself has no numbers; its results come after it.
        if self.open && !view.values.is_empty() {
            let Shape { heads, rows, cols } = view.shape;
            let name = format!("op/{:03}.{}", view.step, view.stage);
            self.push(name, view.text, &[heads, rows, cols], view.values.to_vec());
        }
        Flow::Continue
    }

    fn update(&mut self, view: &UpdateView<'_>) -> Flow {
        if self.open {
            let name = view.update.name;
            self.push(format!("loss/{name}"), "", &[1], vec![view.loss]);
            for (path, values) in view.gradients() {
                let numbers = values.iter().copied().collect();
                self.push(format!("gradient/{name}/{path}"), "", values.shape(), numbers);
            }
        }
        Flow::Continue
    }

    fn applied(&mut self, view: &UpdateView<'_>) -> Flow {
        if self.open {
            for (path, values) in view.parameters() {
                let name = format!("applied/{}/{path}", view.update.name);
                self.push(name, "", values.shape(), values.iter().copied().collect());
            }
        }
        Flow::Continue
    }

    fn done(&mut self, view: &RoundView<'_>) -> Flow {
        if std::mem::take(&mut self.open) {
            self.state("after", view.store);
        }
        Flow::Continue
    }
}

impl super::Recorder for Capture {}
