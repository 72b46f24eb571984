"""Beam's in-process engine, made fit for a streaming job."""
