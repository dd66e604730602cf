"""One run or many: arguments, folder, training, test, resume, loggers."""
