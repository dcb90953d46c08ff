//! Data that one cell of a study decodes for all, on a [`Shelf`]: those of a configuration, scaled, equal to what
//! [`data::load`] gives to the last bit.
//!
//! They are known by the checksum of the files, the options `data.*`, the environment and the program. Floats are the
//! columns one after another, then the scales; the text is a `Header`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use baq_datasets::scale::{ActionBounds, ObservationScale, RewardScale};
use baq_datasets::{ARRAYS, Columns, EMBEDDED_HOPPER, Ending, Source, embedded_hopper, minari};
use baq_kernels::Buffer;
use ndarray::{Array1, Array2};
use serde::{Deserialize, Serialize};

use super::conditions::COMMIT;
use super::data::{self, Dataset, EMBEDDED, Scales};
use super::error::TrainError;
use super::metrics::DatasetFacts;
use super::shelf::{Shelf, Volume};
use crate::config::{AuditConfig, Config, DataConfig, RunConfig, Section as _};
use crate::env;

/// What is not a float.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Header {
    rows: usize,
    states: usize,
    actions: usize,
    log_probs: bool,
    bounds: bool,
    path: String,
    sha256: String,
    bytes: u64,
    returns: Vec<f64>,
    facts: DatasetFacts,
}

/// What [`data::load`] gives, read from the shelf if it is there. A run with a ledger, which sums rows as they were before
/// scaling, decodes its data itself; so does one on a file that links lead out of. Errors: those of [`data::load`].
pub fn load(config: &Config, shelf: &Shelf) -> Result<Dataset, TrainError> {
    let ledger = config.section::<AuditConfig>().ledger;
    let known = if ledger { None } else { Known::of(config) };
    let Some(known) = known else { return data::load(config) };
    let shelf = shelf.of(&known.words(config));
    let make = || {
        let dataset = data::load(config)?;
        let alone = known.sha256.as_ref().is_none_or(|sha256| *sha256 == dataset.facts.sha256);
        Ok(if alone { pack(&dataset) } else { Volume { floats: Buffer::default(), text: String::new() } })
    };
    let volume = shelf.volume(("columns", ""), 0, make)?;
    match unpack(&volume) {
        Some(dataset) => {
            data::check(config, &dataset.facts.name, &dataset.facts.sha256)?;
            Ok(Dataset { shelf: Some(shelf), ..dataset })
        }
        None => data::load(config),
    }
}

/// What decides the content of data.
struct Known {
    /// the files
    files: String,
    /// of the one file that there is; none of a folder, all of which counts
    sha256: Option<String>,
    /// rows of an episode, and widths, in the environment
    env: Option<(usize, usize, usize)>,
}

impl Known {
    /// `None` where that cannot be known; reading says why.
    fn of(config: &Config) -> Option<Known> {
        let run: RunConfig = config.section();
        let path = Path::new(&run.dataset);
        let (files, sha256) = if run.dataset.is_empty() || run.dataset == ARRAYS {
            return None;
        } else if run.dataset == EMBEDDED {
            let sha256 = Source::of_bytes(EMBEDDED_HOPPER, embedded_hopper()).sha256;
            (String::new(), Some(sha256))
        } else if minari::is_minari(path) {
            // What stands beside the rows says what they are.
            let folder = if path.is_dir() { path } else { path.parent()? };
            let mut files = Vec::new();
            walk(folder, &mut files)?;
            files.sort();
            let (first, others) = files.split_first()?;
            (format!("{files:?} {}", Source::of_files(first, others).ok()?.sha256), None)
        } else {
            (String::new(), Some(Source::of_files(path, &[]).ok()?.sha256))
        };
        let spec = if run.env.is_empty() { None } else { Some(env::spec(&run.env).ok()?) };
        Some(Known { files, sha256, env: spec.map(|s| (s.max_episode_steps, s.obs_dim, s.act_dim)) })
    }

    fn words(&self, config: &Config) -> String {
        let run: RunConfig = config.section();
        let Known { files, sha256, env } = self;
        let mut words = format!("{COMMIT} {files} {sha256:?} {:?} {:?} {env:?}", run.dataset, run.env);
        for field in DataConfig::fields() {
            let _ = write!(words, " {}={:?}", field.key, config.section::<DataConfig>().get(field.key));
        }
        words
    }
}

/// All files of a folder; `None` if it leads somewhere else or cannot be read.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Option<()> {
    for entry in std::fs::read_dir(folder).ok()? {
        let entry = entry.ok()?;
        match entry.file_type().ok()? {
            kind if kind.is_dir() => walk(&entry.path(), files)?,
            _ if entry.path().is_file() => files.push(entry.path()),
            _ => return None,
        }
    }
    Some(())
}

fn pack(dataset: &Dataset) -> Volume {
    let (c, scales) = (&dataset.columns, &dataset.scales);
    let header = Header {
        rows: c.len(),
        states: c.obs_dim(),
        actions: c.act_dim(),
        log_probs: c.action_log_probs.is_some(),
        bounds: scales.action.is_some(),
        path: c.source.path.clone(),
        sha256: c.source.sha256.clone(),
        bytes: c.source.bytes,
        returns: dataset.returns.clone(),
        facts: dataset.facts.clone(),
    };
    let endings: Vec<f32> = c.endings.iter().map(|e| f32::from(*e as u8)).collect();
    let reward = [scales.reward.scale, scales.reward.shift];
    let dense = "invariant: columns are dense";
    let mut parts: Vec<&[f32]> =
        [&c.observations, &c.actions, &c.next_observations].map(|m| m.as_slice().expect(dense)).to_vec();
    parts.extend([c.rewards.as_slice().expect(dense), &endings]);
    parts.extend(c.action_log_probs.iter().map(|p| p.as_slice().expect(dense)));
    parts.extend([&scales.observation.mean[..], &scales.observation.std, &reward]);
    parts.extend(scales.action.iter().flat_map(|bounds| [bounds.low(), bounds.high()]));
    let mut floats = Buffer::new(parts.iter().map(|part| part.len()).sum());
    let mut rest = &mut floats[..];
    for part in parts {
        let (to, more) = rest.split_at_mut(part.len());
        to.copy_from_slice(part);
        rest = more;
    }
    Volume { floats, text: toml::to_string(&header).expect("invariant: a header is a table") }
}

/// `None` of a volume without data.
fn unpack(volume: &Volume) -> Option<Dataset> {
    let h: Header = toml::from_str(&volume.text).ok()?;
    let (n, s, a) = (h.rows, h.states, h.actions);
    let mut rest = &volume.floats[..];
    let mut take = |len: usize| -> Option<Vec<f32>> {
        let (part, more) = rest.split_at_checked(len)?;
        rest = more;
        Some(part.to_vec())
    };
    let mut matrix = |width: usize| Array2::from_shape_vec((n, width), take(n.checked_mul(width)?)?).ok();
    let (observations, actions, next_observations) = (matrix(s)?, matrix(a)?, matrix(s)?);
    let rewards = Array1::from_vec(take(n)?);
    let ending = |e: f32| [Ending::Running, Ending::Terminated, Ending::Truncated].get(e as usize).copied();
    let endings: Option<Vec<Ending>> = take(n)?.into_iter().map(ending).collect();
    let log_probs = if h.log_probs { Some(take(n)?) } else { None };
    let observation = ObservationScale { mean: take(s)?, std: take(s)? };
    let reward = take(2)?;
    let action = match h.bounds {
        true => Some(ActionBounds::new(&h.path, take(a)?, take(a)?).ok()?),
        false => None,
    };
    let columns = Columns {
        observations,
        actions,
        rewards,
        next_observations,
        endings: endings?,
        action_log_probs: log_probs.map(Array1::from_vec),
        source: Source { path: h.path, sha256: h.sha256, bytes: h.bytes },
    };
    let scales = Scales { observation, reward: RewardScale { scale: reward[0], shift: reward[1] }, action };
    Some(Dataset { columns, returns: h.returns, scales, facts: h.facts, rows: Vec::new(), shelf: None })
}

#[cfg(test)]
mod tests {
    use baq_datasets::{synthetic, write};

    use super::*;
    use crate::algo::{Failed, ReturnToGo};
    use crate::config::{DataMode, ObservationScaling, RewardScaling};
    use crate::replay::{OFFLINE, ONLINE_POOL};
    use crate::train::data::Recorded;
    use crate::train::sections::known_sections;

    fn config(dataset: &str, env: &str, data: DataConfig) -> Config {
        let mut config = Config::new(known_sections());
        config.put(RunConfig { dataset: dataset.into(), env: env.into(), ..RunConfig::default() });
        config.put(data);
        config
    }

    fn put(path: &Path, seed: u64) {
        let _ = std::fs::remove_file(path);
        let file = std::fs::File::create(path).unwrap();
        write::encode(path, &synthetic::point(seed, 300, 3, 1), &write::Options::default(), file).unwrap();
    }

    fn bits<'a>(floats: impl IntoIterator<Item = &'a f32>) -> Vec<u32> {
        floats.into_iter().map(|x| x.to_bits()).collect()
    }

    fn assert_same(a: &Dataset, b: &Dataset) {
        let (x, y) = (&a.columns, &b.columns);
        for (p, q) in [
            (&x.observations, &y.observations),
            (&x.actions, &y.actions),
            (&x.next_observations, &y.next_observations),
        ] {
            assert!(p.dim() == q.dim() && bits(p) == bits(q));
        }
        assert_eq!(bits(&x.rewards), bits(&y.rewards));
        assert_eq!(x.action_log_probs.as_ref().map(bits), y.action_log_probs.as_ref().map(bits));
        assert!(x.endings == y.endings && x.source == y.source);
        assert!(a.returns == b.returns && a.scales == b.scales && a.facts == b.facts);
        assert_eq!(format!("{:?}", a.facts), format!("{:?}", b.facts));
    }

    /// Of all rows, half of them, and with a column that the run writes; `b` may share them.
    fn assert_same_pools(a: &Dataset, b: &Dataset) {
        let rows: Vec<usize> = (0..a.columns.len()).collect();
        let rule = ReturnToGo { discount: 0.99, failed: Failed::Auto };
        for recorded in [
            Recorded::default(),
            Recorded { return_to_go: Some(rule), next_action: false },
            Recorded { return_to_go: None, next_action: true },
        ] {
            for (rows, annotated) in [(&rows[..], &[][..]), (&rows[..rows.len() / 2], &[]), (&rows, &["d2"])]
            {
                let sizes = (rows.len() + 77, &[("generated_online", 9)][..]);
                let of = |d: &Dataset| d.pools_beside(rows, sizes, annotated, recorded).unwrap();
                let (p, mut q, third) = (of(a), of(b), of(b));
                assert_eq!((p.layout(), p.capacity()), (q.layout(), q.capacity()));
                assert_eq!((p.len(), q.pool(OFFLINE).len()), (rows.len(), rows.len()));
                assert!(bits(&p.records(OFFLINE)) == bits(&q.records(OFFLINE)));
                // What a run writes is its own.
                q.set(0, q.column("s"), &vec![-7.0; a.columns.obs_dim()]);
                let record = vec![1.0; q.layout().width()];
                assert_eq!(q.push(ONLINE_POOL, &record), rows.len());
                assert!(q.record(rows.len()) == record && third.pool(ONLINE_POOL).is_empty());
                assert!(bits(&p.records(OFFLINE)) == bits(&third.records(OFFLINE)));
            }
        }
    }

    #[test]
    fn shared_data_are_those_that_are_decoded() {
        let folder = tempfile::tempdir().unwrap();
        let toy = folder.path().join("toy.hdf5");
        put(&toy, 5);
        let fixture = |name: &str| format!("{}/datasets/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut files = 0;
        for (dataset, env) in [
            (EMBEDDED, "hopper-v4"),
            (toy.to_str().unwrap(), "toy"),
            (&fixture("minari/hopper/cut-v0"), ""),
            (&fixture("linked"), ""),
        ] {
            for mode in [DataMode::Episodes, DataMode::NextObservations, DataMode::D4rl] {
                for reward_scaling in [RewardScaling::None, RewardScaling::ReturnRange, RewardScaling::Affine]
                {
                    let data = DataConfig {
                        mode,
                        reward_scaling,
                        reward_scale: 3.7,
                        reward_bias: -0.3,
                        observation_scaling: match reward_scaling {
                            RewardScaling::Affine => ObservationScaling::Standardise,
                            _ => ObservationScaling::None,
                        },
                        ..DataConfig::default()
                    };
                    let config = config(dataset, env, data);
                    let shelf = Shelf::new(folder.path().join("shared"));
                    let alone = match data::load(&config) {
                        Ok(alone) => alone,
                        Err(e) => {
                            let same = load(&config, &shelf).err().map(|e| e.to_string());
                            assert_eq!(same, Some(e.to_string()));
                            continue;
                        }
                    };
                    let [made, found] = [0, 1].map(|_| load(&config, &shelf).unwrap());
                    assert!(made.shelf.is_some() && found.shelf.is_some());
                    assert_same(&alone, &made);
                    assert_same(&alone, &found);
                    let there = || std::fs::read_dir(folder.path().join("shared")).unwrap().count();
                    files += 1;
                    assert_eq!(there(), files, "each configuration has a file of its own");
                    assert_same_pools(&alone, &found);
                    files += 3;
                    assert_eq!(there(), files, "all rows, in three layouts");
                }
            }
        }
        assert!(files > 4 * 20, "{files}");
    }

    #[test]
    fn bounds_and_densities_come_back() {
        let config = config(EMBEDDED, "hopper-v4", DataConfig::default());
        let mut dataset = data::load(&config).unwrap();
        let bounds = ActionBounds::new("x", vec![-2.0, -1.5, 0.1], vec![3.0, 1.0, 0.7]).unwrap();
        dataset.scales.action = Some(bounds);
        dataset.columns.action_log_probs = Some(dataset.columns.rewards.mapv(|r| -r / 3.0));
        dataset.facts.return_std = Some(0.1 + 0.2);
        dataset.facts.notes.push("two \"lines\"\nand a tab\t".into());
        assert_same(&dataset, &unpack(&pack(&dataset)).unwrap());
    }

    #[test]
    fn data_that_change_are_told_from_what_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let toy = folder.path().join("toy.hdf5");
        put(&toy, 5);
        let shelf = Shelf::new(folder.path().join("shared"));
        let config = config(toy.to_str().unwrap(), "toy", DataConfig::default());
        let before = load(&config, &shelf).unwrap();
        let pinned = before.pin(&config);
        put(&toy, 6);
        let after = load(&config, &shelf).unwrap();
        assert_same(&data::load(&config).unwrap(), &after);
        for refused in [load(&pinned, &shelf), data::load(&pinned)] {
            let refused = refused.err().map(|e| e.to_string()).unwrap_or_default();
            assert!(
                refused.contains(&before.facts.sha256) && refused.contains(&after.facts.sha256),
                "{refused}"
            );
        }
        std::fs::remove_file(&toy).unwrap();
        let gone = load(&pinned, &shelf).err().map(|e| e.to_string());
        assert_eq!(gone, data::load(&pinned).err().map(|e| e.to_string()));
        assert!(gone.is_some());
    }

    #[test]
    fn a_run_with_a_ledger_reads_its_rows_itself() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(EMBEDDED, "hopper-v4", DataConfig::default());
        config.put(AuditConfig { ledger: true, ..AuditConfig::default() });
        let dataset = load(&config, &Shelf::new(folder.path().join("shared"))).unwrap();
        assert_eq!(dataset.rows.len(), dataset.columns.len());
        assert!(dataset.shelf.is_none() && !folder.path().join("shared").exists());
    }
}
