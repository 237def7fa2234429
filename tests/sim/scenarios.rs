mod flood;
mod hostile;
mod moves;
mod relay;
mod sizes;
mod transfer;
