//! Models against scripted providers.
