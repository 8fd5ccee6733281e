"""Model files, official mace-torch files and training checkpoints. See ARCHITECTURE.md."""
