# The runner's model: it distinguishes refined fits from initial ones, and takes one step per batch.
model = dict(type='FitDiscriminator')
optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-3, betas=(0.9, 0.999)))
