//! Work that is recorded and done later, as often as wanted: streams that capture, and graphs.
//!
//! A host thread captures one stream at a time. What it says of the memory of launches meanwhile belongs to the launches that
//! are recorded.

use super::{HOST, Status, device, fill, forget, handle, launch, lock};
use crate::Kernel;
use crate::machine::Launch;
use std::sync::Arc;

/// Something that is done in a stream.
pub(super) enum Node {
    Launch { kernel: Kernel, how: Launch, parameters: Vec<u8> },
    Fill { to: u64, value: u8, bytes: usize },
    Forget { start: u64, bytes: usize },
}

/// Nodes in the order in which they are done.
pub(super) type Graph = Arc<Vec<Node>>;

/// The stream that a host thread captures, and what was done in it.
pub(super) struct Capture {
    stream: u64,
    nodes: Vec<Node>,
}

/// Begins to record what the thread does in a stream. The stream that has no handle cannot be recorded.
pub(super) fn begin(stream: u64) -> Status {
    HOST.with_borrow_mut(|host| match host.capture {
        _ if stream == 0 => Status::CaptureUnsupported,
        Some(_) => Status::IllegalState,
        None => {
            host.capture = Some(Capture { stream, nodes: Vec::new() });
            Status::Success
        }
    })
}

/// Whether the thread records what is done in a stream.
pub(super) fn is_capturing(stream: u64) -> bool {
    HOST.with_borrow(|host| host.capture.as_ref().is_some_and(|capture| capture.stream == stream))
}

/// Ends recording; the handle of the graph.
pub(super) fn end(stream: u64) -> Result<u64, Status> {
    if !is_capturing(stream) {
        return Err(Status::IllegalState);
    }
    let capture = HOST.with_borrow_mut(|host| host.capture.take()).ok_or(Status::IllegalState)?;
    Ok(keep(Arc::new(capture.nodes)))
}

/// Gives a graph a new handle.
fn keep(graph: Graph) -> u64 {
    let number = handle();
    lock(&device().graphs).insert(number, graph);
    number
}

/// A graph that can be launched, of one that was recorded.
pub(super) fn instantiate(graph: u64) -> Result<u64, Status> {
    let graph = lock(&device().graphs).get(&graph).cloned();
    graph.map(keep).ok_or(Status::InvalidValue)
}

/// Forgets a graph of either kind.
pub(super) fn destroy(graph: u64) -> Status {
    let gone = lock(&device().graphs).remove(&graph);
    if gone.is_some() { Status::Success } else { Status::InvalidValue }
}

/// Does all that was recorded.
pub(super) fn run(graph: u64) -> Status {
    let graph = lock(&device().graphs).get(&graph).cloned();
    let Some(graph) = graph else { return Status::InvalidValue };
    let status = graph.iter().map(Node::run).find(|status| *status != Status::Success);
    status.unwrap_or(Status::Success)
}

/// Does something in a stream, or records it.
pub(super) fn in_stream(stream: u64, node: Node) -> Status {
    if is_capturing(stream) { record(node) } else { node.run() }
}

/// Does something that belongs to the thread's next launch, or records it if that is recorded.
pub(super) fn before_launch(node: Node) -> Status {
    let is_capturing = HOST.with_borrow(|host| host.capture.is_some());
    if is_capturing { record(node) } else { node.run() }
}

fn record(node: Node) -> Status {
    HOST.with_borrow_mut(|host| host.capture.as_mut().map(|capture| capture.nodes.push(node)));
    Status::Success
}

impl Node {
    fn run(&self) -> Status {
        match self {
            Node::Launch { kernel, how, parameters } => launch(kernel, how.clone(), parameters),
            Node::Fill { to, value, bytes } => fill(*to, *value, *bytes),
            Node::Forget { start, bytes } => forget(*start, *bytes),
        }
    }
}
