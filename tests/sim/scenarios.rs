mod flood;
mod hostile;
mod moves;
mod sizes;
mod transfer;
