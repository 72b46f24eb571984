"""An autoencoder that scores how unlike a benign tumour a record is (Wisconsin breast-cancer data)."""
