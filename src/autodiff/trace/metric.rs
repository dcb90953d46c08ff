//! Declaration of what is measured. It stands beside the options because algorithms declare
//! both and may not see the training loops that write them down.

/// Something measured during training. Declare it once as a constant; no code names a metric
/// by a string elsewhere.
///
/// ```
/// use baq::config::Metric;
/// pub const W_Q05: Metric = Metric::new("w_q05", "5% quantile of w", "", "Weights");
/// pub const W_Q95: Metric = Metric::new("w_q95", "95% quantile of w", "", "Weights");
/// /// Drawn as a line inside the band of the two others.
/// pub const W_Q50: Metric =
///     Metric::new("w_q50", "median of w", "", "Weights").label("median w").band(&W_Q05, &W_Q95);
/// assert_eq!(W_Q50.band, Some(("w_q05", "w_q95")));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Column name: lower case, digits and underscores.
    pub name: &'static str,
    /// What is computed, as a formula or a short phrase.
    pub formula: &'static str,
    /// Unit, empty for pure numbers. Metrics of one section share it, since they share an axis.
    pub unit: &'static str,
    /// Title of the chart in which it is drawn together with the others of that section.
    pub section: &'static str,
    /// Short name in legends; empty means the column name.
    pub label: &'static str,
    /// Names of the metrics that bound the band drawn around this one.
    pub band: Option<(&'static str, &'static str)>,
}

impl Metric {
    /// A metric drawn as a plain line.
    pub const fn new(
        name: &'static str,
        formula: &'static str,
        unit: &'static str,
        section: &'static str,
    ) -> Self {
        Self { name, formula, unit, section, label: "", band: None }
    }

    /// With a short name for legends.
    pub const fn label(mut self, label: &'static str) -> Self {
        self.label = label;
        self
    }

    /// With a band from `low` to `high`, which are then not drawn as lines of their own.
    pub const fn band(mut self, low: &Metric, high: &Metric) -> Self {
        self.band = Some((low.name, high.name));
        self
    }
}
