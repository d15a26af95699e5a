# The runner's model: it tells refined fits from initial ones, and takes one step a batch.
model = dict(type='FitDiscriminator')
optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-3, betas=(0.9, 0.999)))
