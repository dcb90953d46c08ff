//! What training does not use of a file: what is read all the same, and notes of what is left out.

use super::{KNOWN, Reader};
use crate::backend::Backend;
use crate::error::{Error, Result, plain};
use crate::recording::{check_finite, left_out};
use ndarray::Array1;

impl<B: Backend> Reader<'_, B> {
    /// log pi(a|s) of the behaviour policy, where recorded.
    pub(super) fn log_probs(&self, n: usize) -> Result<Option<Array1<f32>>> {
        let key = "infos/action_log_probs";
        if !self.vector(key, n, false)? {
            return Ok(None);
        }
        let values = self.file.read_f32(key)?;
        check_finite(&self.label, key, &values, 1)?;
        Ok(Some(Array1::from_vec(values)))
    }

    /// The name of the generating algorithm, where recorded.
    pub(super) fn algorithm(&self) -> Result<Option<String>> {
        let key = "metadata/algorithm";
        match self.file.info(key)? {
            None => Ok(None),
            Some(_) => Ok(Some(plain(&self.file.read_string(key)?).into_owned())),
        }
    }

    /// A note of the keys that are not read, if there are any; `masks` are only in OGBench's layout.
    pub(super) fn unread(&self, ogbench: bool) -> Option<String> {
        let mut found = self.names("");
        found.retain(|key| !KNOWN.contains(&key.as_str()) || (key == "masks" && !ogbench));
        for (group, read) in
            [("infos", &["action_log_probs"][..]), ("metadata", &["algorithm", "action_low", "action_high"])]
        {
            if let Some(at) = found.iter().position(|key| key == group) {
                let rest = self.names(group).into_iter().filter(|name| !read.contains(&name.as_str()));
                found.splice(at..at + 1, rest.map(|name| format!("{group}/{name}")));
            }
        }
        found.iter_mut().filter(|key| key.is_empty()).for_each(|key| *key = "a column without a name".into());
        left_out(&found)
    }

    /// An error as a note: without the file's name, and without advice on what need not be mended.
    pub(super) fn as_note(&self, error: &Error) -> String {
        let text = error.to_string();
        let text = text.strip_prefix(&format!("{}: ", self.label)).unwrap_or(&text);
        let what = text.rsplit_once("; ").map_or(text, |(what, _)| what);
        format!("left out, as training does not use it: {what}")
    }
}
