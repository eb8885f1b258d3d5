//! Real child servers, clients, naive models: for tests only
