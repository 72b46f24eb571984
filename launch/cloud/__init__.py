"""Google's services as the launch commands reach them: gcloud and REST."""
