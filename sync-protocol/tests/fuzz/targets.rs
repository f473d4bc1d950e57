//! Every fuzz target by its name. `fuzz/` runs them on new inputs without end, `main.rs` beside this file on the stored ones.

use crate::{decoders, engine, gate, rules};

pub(crate) type Target = fn(&[u8]);

pub(crate) const TARGETS: [(&str, Target); 12] = [
    ("repo_message", decoders::repo_message),
    ("batch", decoders::batch),
    ("link", decoders::link),
    ("document_id", decoders::document_id),
    ("bookmark", decoders::bookmark),
    ("tag", decoders::tag),
    ("command", decoders::command),
    ("token", decoders::token),
    ("gate_message", gate::message),
    ("gate_changes", gate::changes),
    ("rules", rules::rules),
    ("engine", engine::engine),
];
