//! A provider for tests: answers from a list and remembers what it was asked.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use waystation_core::error::{Code, Failure};

use super::models::{Entry, Models};
use super::{Finish, Manner, Provider, Question, Reply};

/// One answer of a script, or one failure.
pub(crate) struct Line(Result<Reply, Failure>);

impl From<&str> for Line {
    fn from(text: &str) -> Line {
        Line::from((text, Finish::Stop))
    }
}

impl From<(&str, Finish)> for Line {
    fn from((text, finish): (&str, Finish)) -> Line {
        Line(Ok(Reply {
            text: text.into(),
            model: "scripted-1".into(),
            finish,
            prompt_tokens: 10,
            completion_tokens: 2,
            nano_usd: Some(3_000),
        }))
    }
}

impl From<Failure> for Line {
    fn from(failure: Failure) -> Line {
        Line(Err(failure))
    }
}

/// The provider.
#[derive(Default)]
pub(crate) struct Scripted {
    lines: Mutex<VecDeque<Line>>,
    questions: Mutex<Vec<Question>>,
}

impl Scripted {
    /// Gives these answers, one after another, and then failures that say so.
    pub(crate) fn new<L: Into<Line>>(lines: impl IntoIterator<Item = L>) -> Arc<Scripted> {
        let lines = Mutex::new(lines.into_iter().map(Into::into).collect());
        Arc::new(Scripted { lines, questions: Mutex::default() })
    }

    /// Models of this provider alone, under the name of the one that is asked by default.
    pub(crate) fn models(self: &Arc<Scripted>) -> Arc<Models> {
        let provider = Arc::clone(self) as Arc<dyn Provider>;
        let entry = Entry { provider, default_model: Some("scripted-1".into()) };
        Arc::new(Models::new(BTreeMap::from([("openai".to_owned(), entry)])))
    }

    /// What was asked so far.
    pub(crate) fn questions(&self) -> Vec<Question> {
        self.questions.lock().expect("no panic").clone()
    }
}

#[async_trait]
impl Provider for Scripted {
    async fn ask(&self, question: &Question, _: Manner<'_>) -> Result<Reply, Failure> {
        self.questions.lock().expect("no panic").push(question.clone());
        let line = self.lines.lock().expect("no panic").pop_front();
        line.map_or_else(
            || Err(Failure::fatal(Code::Internal, "the script has ended")),
            |line| line.0,
        )
    }
}
