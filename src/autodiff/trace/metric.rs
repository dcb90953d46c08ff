//! Declaration of what is measured. It stands beside the options because algorithms declare
//! both and may not see the training loops that write them down.

/// Something measured during training. Declare it once as a constant; no code names a metric
/// by a string elsewhere.
///
/// ```
/// use baq::config::Metric;
/// pub const Q_MEAN: Metric = Metric::new("q_mean", "mean Q(s, a)", "scaled return", "Values");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Column name: lower case, digits and underscores. `phase`, `update`, `env_step`, `episode_return` and
    /// `validation_loss` are columns of the training loops.
    pub name: &'static str,
    /// What is computed, as a formula or a short phrase.
    pub formula: &'static str,
    /// Unit, empty for pure numbers. Metrics of one section share it, since they share an axis.
    pub unit: &'static str,
    /// Title of the chart in which it is drawn together with the others of that section.
    pub section: &'static str,
}

impl Metric {
    /// The unit of shares: what lies between 0 and 1.
    pub const SHARE: &str = "share";

    /// A metric of the chart `section`. A run in which two columns have one name panics when it begins to log, see
    /// [`Metric::name`].
    pub const fn new(
        name: &'static str,
        formula: &'static str,
        unit: &'static str,
        section: &'static str,
    ) -> Self {
        Self { name, formula, unit, section }
    }
}
