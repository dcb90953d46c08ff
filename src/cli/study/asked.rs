//! Which study a command is about, and where its data are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::super::{Common, setup};
use super::folder;
use super::held::STUDIES;
use super::resolve::Commands;
use crate::study::directory::Data;
use crate::study::{Place, Spec, Study, paper};
use crate::train::TrainError;
use crate::train::data::EMBEDDED;

/// Which study.
#[derive(Clone, Debug, Args)]
pub struct Asked {
    /// file of the study, or the name of one that comes with the program
    study: String,
    /// one of its scales, as in laptop
    #[arg(long, value_name = "NAME")]
    scale: Option<String>,
    /// folder with the data sets that the study names, as NAME.hdf5 or NAME-v2.hdf5
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// directory of the study (default: studies/NAME or studies/NAME-SCALE)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// run cells whose configuration has changed anew, beside what is there
    #[arg(long)]
    redo: bool,
}

impl Asked {
    /// The study in its directory; nothing is written.
    pub fn study(&self, common: Common) -> Result<Study, TrainError> {
        let (origin, text) = self.text()?;
        let spec = Spec::parse(&origin, &text, self.scale.as_deref())
            .map_err(|e| TrainError::Input(e.to_string()))?;
        let beside = Path::new(&origin).parent().unwrap_or(Path::new(""));
        let mut data = BTreeMap::new();
        for name in &spec.data {
            data.insert(name.clone(), Data::of(self.file(name, beside)?)?);
        }
        let here = baq_kernels::active();
        let place = Place {
            scale: self.scale.clone(),
            isa: here.isa.name().into(),
            numerics: here.numerics.name().into(),
            commits: Vec::new(),
            data,
        };
        let out = self.out.clone().unwrap_or_else(|| Path::new(STUDIES).join(spec.title()));
        Study::new(&out, (text, spec), place, &Commands(common), self.redo)
    }

    /// The text of the study and what errors call it; a file comes before a study of the program of the same name.
    fn text(&self) -> Result<(String, String), TrainError> {
        let path = Path::new(&self.study);
        let own = paper::find(&self.study).filter(|_| !path.exists());
        if let Some(text) = own {
            return Ok((self.study.clone(), text.into()));
        }
        let text = crate::files::read_to_string(path).map_err(|e| {
            let names = paper::STUDIES.map(|(name, _)| name).join(", ");
            TrainError::Input(format!(
                "{}: cannot read the study: {e}; those that come with the program are {names}",
                path.display()
            ))
        })?;
        Ok((self.study.clone(), text))
    }

    /// What `--data` is given for a data set: a path from the study's file, or a name in the folder of `--data`.
    fn file(&self, name: &str, beside: &Path) -> Result<String, TrainError> {
        if name == EMBEDDED {
            return Ok(name.into());
        }
        let path = match &self.data {
            _ if name.contains('/') || name.ends_with(".hdf5") => beside.join(name),
            Some(folder) => folder::find(folder, name)?,
            None => {
                return Err(TrainError::Input(format!(
                    "data {name}: expected to be told where it is; name the folder of its file with --data DIR"
                )));
            }
        };
        match path.exists() {
            true => setup::absolute(&path.display().to_string()),
            false => Err(TrainError::Input(format!(
                "data {name}: expected a file, found none at {}; name a path in the study, or the folder with --data DIR",
                path.display()
            ))),
        }
    }
}
