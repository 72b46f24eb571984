"""One hop through the embedded broker, and through Google's emulator."""
