"""The Lightning training loop.

distributed       processes of a distributed training
acquisition       changes of training images as by other scanners and formats
augmentation      augmentation of a batch on the device
batches           batches of training and validation images
device            device, numeric precision, out-of-memory errors, times on a device
lightning_module  one phase as a LightningModule
progress          estimate of the remaining time
callbacks         epoch log, best weights, resume file
fit               runs the phases
"""
