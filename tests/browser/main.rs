//! The promises of the web page, each a test: a real headless Chromium, driven by WebDriver, before the real sidecar on real
//! Postgres. What a test does is what a person does, by the words on the page; what it asserts is seen on the page or
//! arrives at a receiver.

mod browser;

mod access;
mod events;
mod languages;
mod log;
mod pictures;
mod session;
mod size;
mod trouble;
mod webhooks;
