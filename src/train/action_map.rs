//! From the networks' actions to an environment's, where data were rescaled.

use baq_datasets::scale::ActionBounds;

use crate::env::Env;

/// Factor and addend of every component, from actions in [-1, 1] between the bounds of the data to such between the bounds
/// of the task. Nothing, unless these are others. What is beyond [-1, 1] then is for the environment to treat, as it did
/// when the data were recorded.
pub struct ActionMap(Option<Vec<(f64, f64)>>);

impl ActionMap {
    /// For data that were rescaled from these bounds, if they were, in an environment.
    pub fn new(data: Option<&ActionBounds>, env: &dyn Env) -> ActionMap {
        let Some(bounds) = data else {
            return ActionMap(None);
        };
        let ones = || (vec![-1.0; bounds.low().len()], vec![1.0; bounds.low().len()]);
        let (low, high) = env.action_bounds().unwrap_or_else(ones);
        let each = bounds.low().iter().zip(bounds.high()).zip(low.iter().zip(&high));
        let maps: Vec<_> = each
            .map(|((l, h), (low, high))| {
                let [l, h, low, high] = [l, h, low, high].map(|x| f64::from(*x));
                ((h - l) / (high - low), (h + l - high - low) / (high - low))
            })
            .collect();
        ActionMap((!maps.iter().all(|map| *map == (1.0, 0.0))).then_some(maps))
    }

    /// The environment's action; `room` is for A numbers.
    pub fn apply<'a>(&self, action: &'a [f32], room: &'a mut [f32]) -> &'a [f32] {
        let Some(maps) = &self.0 else {
            return action;
        };
        for ((out, a), (factor, addend)) in room.iter_mut().zip(action).zip(maps) {
            *out = (f64::from(*a) * factor + addend) as f32;
        }
        room
    }
}
