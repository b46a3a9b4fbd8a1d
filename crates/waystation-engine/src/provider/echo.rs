//! A model for trying things out: it says what it was told.
//!
//! The answer is the text of the last message of a user, unchanged, and empty where there is none.
//! Temperature, greatest length and schema do not matter. It needs no key and no network, costs
//! nothing, and tells its answer word by word. It thinks as little as an echo does: asked for a
//! judgement or a choice, it repeats the question.

use async_trait::async_trait;
use waystation_core::error::Failure;

use super::draft::Draft;
use super::{Finish, Manner, Provider, Question, Reply, Role};

/// The model's only name.
pub const MODEL: &str = "echo";

/// The model.
pub struct Echo;

#[async_trait]
impl Provider for Echo {
    async fn ask(&self, question: &Question, manner: Manner<'_>) -> Result<Reply, Failure> {
        let mut messages = question.messages.iter().rev();
        let last = messages.find(|message| message.role == Role::User);
        let text = last.map_or_else(String::new, |message| message.text.clone());
        if let Some(tell) = manner.tell {
            text.split_inclusive(char::is_whitespace).for_each(tell);
        }
        let (model, finish) = (Some(MODEL.to_owned()), Some(Finish::Stop));
        Ok(Draft { text, model, finish, ..Draft::default() }.finish(question))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::Message;
    use super::*;

    fn question(said: &[(Role, &str)]) -> Question {
        let message = |(role, text): &(Role, &str)| Message { role: *role, text: (*text).into() };
        Question {
            model: String::new(),
            messages: said.iter().map(message).collect(),
            temperature: None,
            max_tokens: None,
            schema: None,
        }
    }

    #[tokio::test]
    async fn the_last_thing_a_user_said_comes_back_word_by_word() {
        let told = Mutex::new(Vec::new());
        let tell = |piece: &str| told.lock().expect("no panic").push(piece.to_owned());
        let said = [
            (Role::System, "be brief"),
            (Role::User, "one"),
            (Role::User, "two  words\nhere"),
            (Role::Assistant, "three"),
        ];
        let manner = Manner { key: None, tell: Some(&tell) };
        let reply = Echo.ask(&question(&said), manner).await.expect("an answer");
        assert_eq!(reply.text, "two  words\nhere");
        assert_eq!((reply.model.as_str(), reply.finish), ("echo", Finish::Stop));
        assert_eq!((reply.prompt_tokens, reply.completion_tokens), (9, 4));
        assert_eq!(*told.lock().expect("no panic"), ["two ", " ", "words\n", "here"]);
    }

    #[tokio::test]
    async fn where_nobody_asks_there_is_no_echo() {
        let manner = Manner { key: None, tell: None };
        let said = [(Role::System, "be brief")];
        let reply = Echo.ask(&question(&said), manner).await.expect("an answer");
        assert_eq!(reply.text, "");
    }
}
