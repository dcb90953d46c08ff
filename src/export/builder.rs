//! An ONNX graph while it is written: operators and constants by name.

use super::proto::{
    Attribute, Dimension, Extent, FLOAT, Graph, INT64, Node, Tensor, TensorShape, TensorType, Type, Value,
};

/// An extent: so many, or so many times the batch.
#[derive(Clone, Copy, PartialEq)]
pub enum Count {
    /// so many
    Fixed(usize),
    /// so many times the batch
    Batches(usize),
}

/// A graph under way.
#[derive(Default)]
pub struct Builder {
    /// what there is
    pub graph: Graph,
    next: usize,
}

impl Builder {
    fn fresh(&mut self) -> String {
        self.next += 1;
        format!("t{}", self.next)
    }

    /// Adds an operator; the name of what it gives.
    pub fn emit(&mut self, op: &str, args: &[&str], attributes: Vec<Attribute>) -> String {
        let name = self.fresh();
        self.emit_as(op, args, attributes, &name);
        name
    }

    /// Adds an operator whose result has this name.
    pub fn emit_as(&mut self, op: &str, args: &[&str], attribute: Vec<Attribute>, name: &str) {
        let input = args.iter().map(|a| a.to_string()).collect();
        let node = Node { input, output: vec![name.into()], op_type: op.into(), attribute };
        self.graph.node.push(node);
    }

    /// Adds a constant; its name.
    pub fn tensor(&mut self, dims: &[usize], values: &[f32]) -> String {
        let name = self.fresh();
        let raw_data = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let dims = dims.iter().map(|&d| d as i64).collect();
        self.graph.initializer.push(Tensor { dims, data_type: FLOAT, name: name.clone(), raw_data });
        name
    }

    /// Adds one number as a constant of three extents.
    pub fn number(&mut self, x: f64) -> String {
        self.tensor(&[1, 1, 1], &[x as f32])
    }

    /// Adds a list of whole numbers, as extents, axes and indices are.
    pub fn whole(&mut self, values: &[usize]) -> String {
        let name = self.fresh();
        let raw_data = values.iter().flat_map(|&x| (x as i64).to_le_bytes()).collect();
        let dims = vec![values.len() as i64];
        self.graph.initializer.push(Tensor { dims, data_type: INT64, name: name.clone(), raw_data });
        name
    }
}

/// Name and extents of an input or output.
pub fn value(name: &str, extents: &[Count]) -> Value {
    let dim = extents.iter().map(|e| {
        let extent = match *e {
            Count::Fixed(n) => Extent::Is(n as i64),
            Count::Batches(1) => Extent::Named("batch".into()),
            Count::Batches(n) => Extent::Named(format!("{n} batch")),
        };
        Dimension { extent: Some(extent) }
    });
    let shape = TensorShape { dim: dim.collect() };
    let tensor_type = TensorType { elem_type: FLOAT, shape: Some(shape) };
    Value { name: name.into(), r#type: Some(Type { tensor_type: Some(tensor_type) }) }
}
