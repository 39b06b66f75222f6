//! Text from a model: prompts, then token after token of each, until it is long enough or comes to an end.
//!
//! Invariant: a text goes on from its [`Conversation`] alone, in the same tokens whether it is written at once or in parts.
//! What is given out is whole characters, and never part of a stop string.

mod stop;

use carousel_core::backend::RunError;

use crate::model::{Predictor, Text};
use crate::sample::{SampleError, Sampler, Seen, penalise};
use crate::tokenizer::{Decoder, Tokenizer, TokenizerError, UnknownToken};
use crate::weights::Weights;
use stop::StopStream;

/// Why no text comes out.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// There is nothing to continue.
    #[error("the prompt is empty: a model needs at least one token to continue")]
    EmptyPrompt,
    /// The model does not run.
    #[error("{0}")]
    Run(RunError),
    /// No token can be chosen.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// The prompt is no text.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The model has more tokens than the tokenizer.
    #[error(transparent)]
    Token(#[from] UnknownToken),
}

impl From<RunError> for GenerateError {
    fn from(error: RunError) -> GenerateError {
        GenerateError::Run(error)
    }
}

/// How texts are continued.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    /// The most tokens to write.
    pub length: usize,
    /// How each is chosen.
    pub sampler: Sampler,
    /// What divides the logits of tokens that the text already has; 1 for nothing.
    pub repetition_penalty: f32,
    /// Texts at which to stop; they are not given out.
    pub stop: &'a [String],
    /// The token that ends a text, if there is one; it is not given out.
    pub end: Option<i32>,
    /// What makes text of tokens; without it there are only tokens.
    pub tokenizer: Option<&'a dyn Tokenizer>,
}

/// All that a text is continued from.
#[derive(Clone)]
pub struct Conversation<'a> {
    /// What the model remembers of the tokens it has read.
    pub text: Text<'a>,
    /// Tokens that come next.
    pub unread: Vec<i32>,
    /// Tokens that it has, read or not.
    pub seen: Seen,
    /// How many they are.
    pub position: u64,
}

/// Why a text was not continued any further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finish {
    /// It is as long as was wanted.
    Length,
    /// A stop string came.
    Stop,
    /// The token came that ends a text.
    End,
}

/// What was written to one of the texts.
#[derive(Clone, PartialEq, Debug)]
pub struct Continuation {
    /// The tokens, those of a stop string and of the end included.
    pub tokens: Vec<i32>,
    /// The text.
    pub text: String,
    /// Why it ends there.
    pub finish: Finish,
}

/// A part of a continuation, as soon as it is certain.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Written<'a> {
    /// Which of the texts.
    pub row: usize,
    /// A token that was chosen; none when what was held back is given out at the end.
    pub token: Option<i32>,
    /// Text.
    pub text: &'a str,
}

impl<'a> Conversation<'a> {
    /// One that has not begun.
    pub fn new(predictor: &'a Predictor, vocabulary: usize) -> Conversation<'a> {
        let (text, seen) = (predictor.start(), Seen::none(vocabulary));
        Conversation { text, unread: Vec::new(), seen, position: 0 }
    }

    /// Goes on with these tokens, which are read when it is continued.
    pub fn extend(&mut self, tokens: &[i32]) {
        tokens.iter().for_each(|token| self.seen.insert(*token));
        self.position += tokens.len() as u64;
        self.unread.extend_from_slice(tokens);
    }
}

/// One of the texts while it is written.
struct Row<'c, 'p, 's> {
    conversation: &'c mut Conversation<'p>,
    sampler: Sampler,
    decoder: Option<Box<dyn Decoder + 's>>,
    stop: StopStream<'s>,
    logits: Vec<f32>,
    tokens: Vec<i32>,
    text: String,
    finish: Option<Finish>,
}

/// Continues texts side by side, giving to `emit` what is written as soon as it is certain. A prompt is read at once, and each
/// token once.
pub fn generate(
    predictor: &Predictor,
    parameters: &Weights<'_>,
    conversations: &mut [Conversation<'_>],
    settings: &Settings<'_>,
    emit: &mut dyn FnMut(Written<'_>),
) -> Result<Vec<Continuation>, GenerateError> {
    let mut rows = Vec::with_capacity(conversations.len());
    for (row, conversation) in conversations.iter_mut().enumerate() {
        let logits = read_prompt(parameters, conversation, settings.length)?;
        rows.push(Row {
            conversation,
            sampler: settings.sampler.of_row(row),
            decoder: settings.tokenizer.map(|tokenizer| tokenizer.decoder()),
            stop: StopStream::new(settings.stop),
            logits,
            tokens: Vec::new(),
            text: String::new(),
            finish: (settings.length == 0).then_some(Finish::Length),
        });
    }
    loop {
        for (at, row) in rows.iter_mut().enumerate().filter(|(_, row)| row.finish.is_none()) {
            row.choose(at, settings, emit)?;
        }
        let mut going: Vec<&mut Row<'_, '_, '_>> =
            rows.iter_mut().filter(|row| row.finish.is_none()).collect();
        if going.is_empty() {
            break;
        }
        let tokens: Vec<i32> = going.iter_mut().flat_map(|row| row.conversation.unread.drain(..)).collect();
        let mut texts: Vec<&mut Text<'_>> = going.iter_mut().map(|row| &mut row.conversation.text).collect();
        let logits = predictor.read_token_of_each(parameters, &mut texts, &tokens)?;
        going.iter_mut().zip(logits).for_each(|(row, logits)| row.logits = logits);
    }
    let finished = rows.into_iter().map(|row| Continuation {
        tokens: row.tokens,
        text: row.text,
        finish: row.finish.unwrap_or(Finish::Length),
    });
    Ok(finished.collect())
}

/// Reads what is not read yet, and gives the logits after it. A token that was chosen before is read alone, as it would have been
/// if the text had not been interrupted there.
fn read_prompt(
    parameters: &Weights<'_>,
    conversation: &mut Conversation<'_>,
    length: usize,
) -> Result<Vec<f32>, GenerateError> {
    if conversation.unread.is_empty() {
        return Err(GenerateError::EmptyPrompt);
    }
    if length == 0 {
        return Ok(Vec::new());
    }
    let unread = std::mem::take(&mut conversation.unread);
    let is_begun = !conversation.text.memory().is_empty();
    let (chosen, prompt) = unread.split_at(usize::from(is_begun));
    let mut logits = Vec::new();
    for piece in [chosen, prompt].into_iter().filter(|piece| !piece.is_empty()) {
        logits = conversation.text.last_logits(parameters, piece)?;
    }
    Ok(logits)
}

impl Row<'_, '_, '_> {
    /// Chooses the next token, and gives out what it makes certain.
    fn choose(
        &mut self,
        at: usize,
        settings: &Settings<'_>,
        emit: &mut dyn FnMut(Written<'_>),
    ) -> Result<(), GenerateError> {
        // A model may have room for more tokens than there are.
        let known = settings.tokenizer.map_or(usize::MAX, Tokenizer::vocabulary);
        self.logits.truncate(known);
        penalise(&mut self.logits, &self.conversation.seen, settings.repetition_penalty);
        let token = self.sampler.choose(&self.logits, self.conversation.position)? as i32;
        self.conversation.extend(&[token]);
        self.tokens.push(token);
        if settings.end == Some(token) {
            return self.end(Finish::End, at, emit);
        }
        let decoded = self.decoder.as_mut().map(|decoder| decoder.push(token)).transpose()?;
        let (text, is_stopped) = self.stop.push(&decoded.unwrap_or_default());
        self.text.push_str(&text);
        emit(Written { row: at, token: Some(token), text: &text });
        if is_stopped {
            self.finish = Some(Finish::Stop);
        } else if self.tokens.len() == settings.length {
            self.end(Finish::Length, at, emit)?;
        }
        Ok(())
    }

    /// Gives out what was held back.
    fn end(
        &mut self,
        finish: Finish,
        at: usize,
        emit: &mut dyn FnMut(Written<'_>),
    ) -> Result<(), GenerateError> {
        let rest = self.decoder.as_mut().map(|decoder| decoder.finish()).unwrap_or_default();
        let (mut text, is_stopped) = self.stop.push(&rest);
        if !is_stopped {
            text.push_str(&self.stop.finish());
        }
        self.text.push_str(&text);
        emit(Written { row: at, token: None, text: &text });
        self.finish = Some(if is_stopped { Finish::Stop } else { finish });
        Ok(())
    }
}
