// gearmanode, whose loggers would write to standard error that nobody has told them where to write.
"use strict";

const winston = require("winston");

for (const name of ["Client", "Worker", "JobServer", "Job", "LBStrategy", "protocol"]) {
    winston.loggers.add(name, { silent: true, transports: [new winston.transports.Console()] });
}
winston.configure({ silent: true, transports: [new winston.transports.Console()] });
exports.gearmanode = require("gearmanode");
